//! The floors: the least that can do each piece of work on this machine.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use rustix::process::getuid;

use crate::Result;
use crate::process::{Server, free_address};

/// The hidden first argument with which this program runs [`serve_bare_axum`].
pub const SERVE_BARE_AXUM: &str = "--serve-bare-axum";

/// Starts a server in its own process whose one route answers with `body`.
pub fn bare_axum(folder: &Path, body: &[u8]) -> Result<Server> {
    let file = folder.join("body");
    fs::write(&file, body)?;
    let address = free_address()?;
    let mut command = Command::new(env::current_exe()?);
    command
        .arg(SERVE_BARE_AXUM)
        .arg(address.to_string())
        .arg(file);
    Server::spawn(&mut command, address, folder)
}

/// What [`bare_axum`] starts: axum and tokio as they come, and a body that is already there.
pub fn serve_bare_axum(address: &str, body: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    let body = Bytes::from(fs::read(body)?);
    let answer = move || async move { ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body) };
    let router = Router::new().route("/cloud-init/user-data", get(answer));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await?;
            Ok(axum::serve(listener, router).await?)
        })
}

/// The time that it takes to make `content` last once: write, fsync, rename, fsync of the folder.
pub fn durable_write(folder: &Path, content: &[u8]) -> Result<Duration> {
    let (written, renamed) = (folder.join("floor.new"), folder.join("floor"));
    let begun = Instant::now();
    let mut file = File::create(&written)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&written, &renamed)?;
    File::open(folder)?.sync_all()?;
    Ok(begun.elapsed())
}

/// Starts nginx, sending the files below `root` from the page cache straight to the socket; none
/// where it is missing.
pub fn nginx(folder: &Path, root: &Path) -> Result<Option<Server>> {
    // Not every user's PATH has the folder that Debian puts it in.
    let Some(program) = ["nginx", "/usr/sbin/nginx"]
        .into_iter()
        .find(|program| Command::new(program).arg("-v").output().is_ok())
    else {
        return Ok(None);
    };
    let address = free_address()?;
    // As root its workers would be nobody, who may not enter a temporary folder.
    let user = if getuid().is_root() { "user root;" } else { "" };
    let (here, root) = (folder.display(), root.display());
    let configuration = format!(
        "{user}
        daemon off; worker_processes auto; pid {here}/pid; error_log {here}/log;
        events {{ worker_connections 256; }}
        http {{
            access_log {here}/access.log; sendfile on; tcp_nopush on;
            client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3;
            uwsgi_temp_path {here}/4; scgi_temp_path {here}/5;
            server {{ listen {address}; root {root}; }}
        }}"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg(folder.join("log"))
        .arg("-c")
        .arg(file);
    Server::spawn(&mut command, address, folder).map(Some)
}
