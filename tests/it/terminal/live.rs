//! The table in a real terminal, once and live: what is on the screen, what keys do, and that the
//! terminal is afterwards as it was before.

use std::fs;
use std::time::{Duration, Instant};

use gb10_provision_api::terminal::watch::Screen;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::beats::*;
use crate::support::needs::{Need, needs};
use crate::support::tmux::Terminal;
use crate::support::*;

/// How soon a report shows.
const SOON: Duration = Duration::from_secs(3);

const TMUX: Need = Need::Program("tmux");

/// Records of so many boxes on their way, and of one that is ready and one that failed.
fn records(data: &std::path::Path, on_their_way: usize) {
    let record = |n: usize, stage: &str, phase: &str, detail: &str| {
        let at = "2026-11-30T10:00:00.000Z";
        json!({"mac": mac(n), "ip": format!("10.88.0.{n}"), "hostname": format!("spark-{n:02}"),
            "current_stage": stage, "last_heartbeat": at,
            "stages": [{"stage": stage, "phase": phase, "timestamp": at, "detail": detail}]})
    };
    let mut clients = serde_json::Map::new();
    clients.insert(mac(1), record(1, "ready", "done", "all is well"));
    clients.insert(mac(2), record(2, "storage", "fail", "no NVMe disk"));
    for n in 3..3 + on_their_way {
        clients.insert(mac(n), record(n, "network", "start", &format!("port {n}")));
    }
    stage(
        data,
        "state/clients.json",
        &serde_json::to_string(&clients).unwrap(),
    );
}

/// The place of a text among the lines of a screen.
fn line_of(screen: &str, text: &str) -> usize {
    let at = screen.lines().position(|line| line.contains(text));
    at.unwrap_or_else(|| panic!("no {text} on the screen:\n{screen}"))
}

/// The live table is there: its keys stand in the last line.
fn wait_for_watch(terminal: &Terminal) -> String {
    terminal.wait_for_text("q quit")
}

#[test]
fn the_table_fits_the_window_and_has_colours_only_there() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    records(folder.path(), 2);
    let terminal = Terminal::new(folder.path(), 72, 24);
    terminal.run("clear; $GB10 clients");
    let screen = terminal.wait_for_text("4 boxes: 1 failed");
    // A line that was too long would have gone on in the next one.
    let lines: Vec<&str> = screen
        .lines()
        .filter(|line| line.contains("00:00:5e"))
        .collect();
    assert_eq!(lines.len(), 4, "{screen}");
    assert!(
        lines[0].starts_with("FAILED") && lines[0].contains("spark-02"),
        "{screen}"
    );
    assert!(
        terminal
            .coloured_screen()
            .contains("\u{1b}[1m\u{1b}[31mFAILED"),
        "{:?}",
        terminal.coloured_screen()
    );

    for command in [
        "NO_COLOR=1 $GB10 clients",
        "TERM=dumb $GB10 clients",
        "$GB10 clients | cat",
    ] {
        terminal.run(&format!("clear; {command}; echo do''ne"));
        terminal.wait_for("what was printed", |screen| {
            screen.starts_with("STATE") && screen.contains("\ndone")
        });
        let screen = terminal.coloured_screen();
        assert!(!screen.contains('\u{1b}'), "{command}: {screen:?}");
    }
}

#[test]
fn the_live_table_shows_a_report_soon_and_moves_a_failure_up() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    for n in 1..=3 {
        assert_eq!(service.heartbeat(&mac(n), "network", "start").status, 200);
    }
    let terminal = Terminal::new(folder.path(), 100, 24);
    terminal.run("$GB10 clients --watch");
    terminal.wait_for_text("3 boxes: 0 failed, 0 stalled, 3 on their way, 0 ready");
    assert_eq!(terminal.flag("alternate_on"), "1");

    let began = Instant::now();
    assert_eq!(service.heartbeat(&mac(3), "driver", "fail").status, 200);
    let screen = terminal.wait_for_text("3 boxes: 1 failed");
    let took = began.elapsed();
    figure(&format!(
        "a report was on the screen after {} ms",
        took.as_millis()
    ));
    assert!(took < SOON, "{took:?}");
    assert!(
        line_of(&screen, &mac(3)) < line_of(&screen, &mac(1)),
        "{screen}"
    );

    // It goes on without the service, and without a file that can be read.
    drop(service);
    let state = folder.path().join("state/clients.json");
    let text = fs::read(&state).unwrap();
    fs::write(&state, "{").unwrap();
    let screen =
        terminal.wait_for_text("the records cannot be read: clients.json is not a JSON object");
    assert!(screen.contains(&mac(3)), "{screen}");
    fs::write(&state, text).unwrap();
    terminal.wait_until_gone("cannot be read");
}

#[test]
fn keys_sort_filter_and_open_the_story_of_a_box() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    records(folder.path(), 40);
    let terminal = Terminal::new(folder.path(), 100, 24);
    terminal.run("$GB10 clients --watch");
    let screen = wait_for_watch(&terminal);
    assert!(
        screen.contains("42 boxes: 1 failed, 0 stalled, 40 on their way, 1 ready"),
        "{screen}"
    );
    assert!(
        screen.contains("FAILED") && !screen.contains("spark-30"),
        "{screen}"
    );

    // To the end and back; a page.
    terminal.press(&["End"]);
    terminal.wait_for_text("spark-01");
    terminal.press(&["Home"]);
    terminal.wait_for_text("spark-02");
    terminal.press(&["PageDown"]);
    terminal.wait_until_gone("spark-02");
    terminal.press(&["g"]);
    terminal.wait_for_text("spark-02");

    // By another order.
    terminal.press(&["s"]);
    let screen = terminal.wait_for_text("sorted by name");
    assert!(
        line_of(&screen, "spark-01") < line_of(&screen, "spark-02"),
        "{screen}"
    );

    // Only boxes of one state, and then of all.
    terminal.press(&["f"]);
    let screen = terminal.wait_for_text("only: FAILED");
    assert_eq!(screen.matches("spark-").count(), 1, "{screen}");
    terminal.press(&["f"]);
    terminal.wait_for_text("no box is like that");
    terminal.press(&["Escape"]);
    terminal.wait_until_gone("only:");

    // Only boxes with a text, as it is typed.
    terminal.press(&["/", "PORT 4"]);
    let screen = terminal.wait_for("boxes of ports 4 and 40 on", |screen| {
        screen.contains("filter: PORT 4_") && !screen.contains("spark-05")
    });
    assert!(
        screen.contains("spark-04") && screen.contains("filter: PORT 4_"),
        "{screen}"
    );
    terminal.press(&["BSpace", "4", "1", "Enter"]);
    let screen = terminal.wait_for_text("with \"PORT 41\"");
    assert_eq!(screen.matches("spark-").count(), 1, "{screen}");

    // Its story, below the table.
    terminal.press(&["Enter"]);
    let screen = terminal.wait_for_text("stage        network start");
    let title = format!("── spark-41 {}", mac(41));
    assert!(
        line_of(&screen, &title) > line_of(&screen, "on its way"),
        "{screen}"
    );
    terminal.press(&["PageDown"]);
    terminal.wait_for_text("network start  port 41");
    terminal.press(&["Escape"]);
    terminal.wait_until_gone("── spark-41");

    // A box that is forgotten meanwhile.
    terminal.press(&["Enter"]);
    terminal.wait_for_text(&title);
    let forget = std::process::Command::new(BINARY)
        .args(["forget", &mac(41)])
        .env("DATA_PATH", folder.path())
        .output();
    assert!(forget.unwrap().status.success());
    terminal.wait_for_text("that box is no longer on record");
    terminal.press(&["Escape", "Escape", "q"]);
    terminal.wait_until_gone("q quit");
}

#[test]
fn a_story_is_opened_from_the_command_line_and_a_wrong_one_is_told() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    records(folder.path(), 3);
    let terminal = Terminal::new(folder.path(), 100, 30);
    terminal.run(&format!("$GB10 clients --watch {}", mac(2)));
    terminal.wait_for_text("no NVMe disk");
    let screen = wait_for_watch(&terminal);
    assert!(
        screen.contains(&format!("── spark-02 {}", mac(2))),
        "{screen}"
    );
    terminal.press(&["Down"]);
    terminal.wait_for_text("── spark-03");
    terminal.press(&["q"]);
    terminal.wait_until_gone("q quit");
    terminal.run(&format!("$GB10 clients --watch {}", mac(99)));
    terminal.wait_for_text("no box with that MAC is on record");
    terminal.run("clear; $GB10 clients --watch | cat");
    terminal.wait_for_text("--watch needs a terminal");
}

#[test]
fn it_draws_what_fits_into_a_window_of_any_size() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    records(folder.path(), 20);
    let terminal = Terminal::new(folder.path(), 34, 10);
    terminal.run("$GB10 clients --watch");
    let screen = terminal.wait_for_text("FAILED");
    assert!(screen.contains("q quit"), "{screen}");
    assert!(screen.contains(&mac(2)), "{screen}");
    // The whole window is the story's where there is no room for both.
    terminal.press(&["Enter"]);
    let screen = terminal.wait_for_text("state: FAILED");
    assert!(!screen.contains("STAGE"), "{screen}");

    for (columns, rows) in [
        (1, 1),
        (2, 3),
        (7, 2),
        (20, 4),
        (200, 60),
        (10, 50),
        (120, 40),
    ] {
        terminal.resize(columns, rows);
        // It is still there, and hears keys.
        terminal.press(&["Down", "PageDown", "PageUp", "Up", "s", "s", "s", "s", "s"]);
    }
    terminal.wait_for_text("DETAIL");
    let screen = terminal.wait_for_text("no NVMe disk");
    assert!(
        screen.contains("22 boxes:") && screen.contains("── spark-02"),
        "{screen}"
    );
    // Everything that is drawn has its place: the last line is the last of the window.
    assert!(
        screen
            .trim_end()
            .lines()
            .last()
            .unwrap()
            .starts_with("q quit"),
        "{screen}"
    );
    assert_eq!(screen.trim_end().lines().count(), 40, "{screen}");
}

/// The modes of the terminal, as the shell finds them.
fn modes(terminal: &Terminal, name: &str) -> String {
    let file = terminal.path(name);
    terminal.run(&format!(
        "clear; stty -a >'{}'; echo do''ne",
        file.display()
    ));
    terminal.wait_for_text("done");
    fs::read_to_string(file).unwrap()
}

fn is_as_before(terminal: &Terminal, before: &str, how: &str) {
    terminal.wait_for("the screen from before", |screen| {
        screen.contains("from before")
    });
    assert_eq!(terminal.flag("alternate_on"), "0", "{how}");
    assert_eq!(terminal.flag("cursor_flag"), "1", "{how}");
    assert_eq!(modes(terminal, "after"), before, "{how}");
}

#[test]
fn the_terminal_is_as_before_after_every_end() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    records(folder.path(), 3);
    let terminal = Terminal::new(folder.path(), 100, 24);
    let before = modes(&terminal, "before");
    for (how, signal) in [
        ("q", None),
        ("C-c", None),
        ("SIGTERM", Some(Signal::TERM)),
        ("SIGHUP", Some(Signal::HUP)),
        ("SIGINT", Some(Signal::INT)),
    ] {
        let pid = terminal.path("pid");
        let watch = format!(
            "sh -c 'echo $$ >{}; exec $GB10 clients --watch'",
            pid.display()
        );
        terminal.run(&format!("clear; echo from before; {watch}"));
        wait_for_watch(&terminal);
        assert_eq!(terminal.flag("alternate_on"), "1");
        match signal {
            None => terminal.press(&[how]),
            Some(signal) => {
                let pid = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
                kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
            }
        }
        is_as_before(&terminal, &before, how);
    }
}

/// In the variable: this process is the one that panics, in the terminal of the other.
const PANICS: &str = "SCREEN_PANICS";

#[test]
fn the_terminal_is_as_before_after_a_panic() {
    needs!(TMUX);
    if std::env::var_os(PANICS).is_some() {
        let _screen = Screen::take().unwrap();
        panic!("this is the panic of the test");
    }
    let folder = tempfile::tempdir().unwrap();
    let terminal = Terminal::new(folder.path(), 100, 24);
    let before = modes(&terminal, "before");
    let binary = std::env::current_exe().unwrap();
    let test = "terminal::live::the_terminal_is_as_before_after_a_panic";
    terminal.run(&format!(
        "clear; echo from before; {PANICS}=1 '{}' --exact {test} --nocapture",
        binary.display()
    ));
    // What it says is on the screen that is there afterwards.
    terminal.wait_for_text("this is the panic of the test");
    terminal.wait_for_text("1 failed");
    is_as_before(&terminal, &before, "a panic");
}

#[test]
fn nothing_that_a_box_says_controls_the_terminal() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    let service = Start::on(folder.path()).service();
    let evil = "x\u{1b}]0;OWNED\u{7}\u{9b}2J\u{7f}\u{202e}\r\n\u{1b}[31mSECOND";
    let body = json!({"mac": mac(1), "stage": "network", "phase": "fail", "detail": evil});
    assert_eq!(service.post("/heartbeat", &body.to_string()).status, 200);
    let terminal = Terminal::new(folder.path(), 140, 40);
    let bytes = terminal.keep_bytes();
    terminal.run("$GB10 clients --watch");
    wait_for_watch(&terminal);
    terminal.press(&["Enter"]);
    terminal.wait_for_text("OWNED");
    terminal.wait_for_text("SECOND");
    terminal.press(&["q"]);
    terminal.wait_until_gone("q quit");
    for command in [
        "clients",
        &*format!("clients {}", mac(1)),
        "clients --json",
        &*format!("clients --json {}", mac(1)),
    ] {
        terminal.run(&format!("clear; $GB10 {command}; echo do''ne"));
        let screen = terminal.wait_for_text("done");
        assert!(screen.contains("OWNED"), "{command}: {screen}");
    }
    let bytes = fs::read(bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for control in [
        "\u{1b}]0;",
        "\u{9b}",
        "\u{7f}",
        "\u{202e}",
        "\u{1b}[31mSECOND",
    ] {
        assert!(!text.contains(control), "{control:?}");
    }
    assert_ne!(terminal.flag("pane_title"), "OWNED");
}
