//! A terminal of its own: tmux, in which a test types and reads the screen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, eventually};

/// A window of tmux with a shell in it, whose data folder is that of the test.
pub struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// A window of this size.
    pub fn new(data: &Path, columns: u16, rows: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Keys count at once, and no line of tmux's own takes room.
        let settings = "set -g status off\nset -g default-terminal screen-256color\nset -s escape-time 0\nset -g default-size 80x24\n";
        fs::write(folder.path().join("conf"), settings).unwrap();
        let terminal = Self { folder };
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        // Nor does the environment of whoever runs the tests say what is on the screen: a backtrace of a
        // panic would be longer than it.
        let shell = format!(
            "env -u RUST_BACKTRACE -u NO_COLOR -u COLUMNS -u LINES DATA_PATH='{}' PS1='$ ' LC_ALL=C.UTF-8 GB10='{BINARY}' sh",
            data.display()
        );
        let conf = terminal.path("conf");
        let conf = conf.to_str().unwrap();
        terminal.tmux(&[
            "-u",
            "-f",
            conf,
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            &shell,
        ]);
        terminal.wait_for("a prompt", |screen| screen.contains('$'));
        terminal
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.path("socket"))
            .args(arguments)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Presses keys, by their names in tmux; a text is typed.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "0"], keys].concat());
    }

    /// Types a command, and the Enter behind it.
    pub fn run(&self, command: &str) {
        self.press(&[command, "Enter"]);
    }

    /// The lines of the screen, without the blanks at their ends.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "0"])
    }

    /// The same, with what makes colours.
    pub fn coloured_screen(&self) -> String {
        self.tmux(&["capture-pane", "-e", "-p", "-t", "0"])
    }

    /// Waits until the screen is as it should be.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let last = std::cell::RefCell::new(String::new());
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                *last.borrow_mut() = self.screen();
                is_so(&last.borrow()).then_some(())
            });
        }));
        let screen = last.into_inner();
        assert!(waited.is_ok(), "{what} was never on the screen:\n{screen}");
        screen
    }

    /// Waits until this text is on the screen.
    pub fn wait_for_text(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// Waits until this text is not on the screen any more.
    pub fn wait_until_gone(&self, text: &str) -> String {
        self.wait_for(&format!("no {text}"), |screen| !screen.contains(text))
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        self.tmux(&["resize-window", "-t", "0", "-x", &columns, "-y", &rows]);
    }

    /// What tmux knows of the window, by the name of a format of its own.
    pub fn flag(&self, name: &str) -> String {
        let format = format!("#{{{name}}}");
        self.tmux(&["display-message", "-p", "-t", "0", &format])
            .trim()
            .to_owned()
    }

    /// Has everything that is written to the window from now on kept in a file, to the byte.
    pub fn keep_bytes(&self) -> PathBuf {
        let file = self.path("bytes");
        let command = format!("cat >'{}'", file.display());
        self.tmux(&["pipe-pane", "-t", "0", &command]);
        file
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.path("socket"))
            .arg("kill-server")
            .output();
    }
}
