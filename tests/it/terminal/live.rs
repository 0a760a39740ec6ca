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

/// Whether both texts are on the screen, the first of them above the other.
fn is_above(screen: &str, first: &str, other: &str) -> bool {
    let line = |text| screen.lines().position(|line| line.contains(text));
    matches!((line(first), line(other)), (Some(first), Some(other)) if first < other)
}

/// How many boxes are on the screen.
fn boxes(screen: &str) -> usize {
    screen.matches("spark-").count()
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
    terminal.wait_for("the failure, and it above the others", |screen| {
        screen.contains("3 boxes: 1 failed") && is_above(screen, &mac(3), &mac(1))
    });
    let took = began.elapsed();
    figure(&format!(
        "a report was on the screen after {} ms",
        took.as_millis()
    ));
    assert!(took < SOON, "{took:?}");

    // What the operator says of a box shows, too.
    let devices = json!({mac(2): {"role": "inference"}});
    stage(folder.path(), "devices.json", &devices.to_string());
    terminal.wait_for_text("inference");

    // It goes on without the service, and without a file that can be read.
    drop(service);
    let state = folder.path().join("state/clients.json");
    let text = fs::read(&state).unwrap();
    fs::write(&state, "{").unwrap();
    let trouble = "the records cannot be read: clients.json is not a JSON object";
    terminal.wait_for("what is wrong, and the boxes all the same", |screen| {
        screen.contains(trouble) && screen.contains(&mac(3))
    });
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
    terminal.wait_for("the first boxes", |screen| {
        screen.contains("42 boxes: 1 failed, 0 stalled, 40 on their way, 1 ready")
            && screen.contains("FAILED")
            && !screen.contains("spark-30")
            && screen.contains("q quit")
    });

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
    terminal.wait_for("boxes by name", |screen| {
        screen.contains("sorted by name") && is_above(screen, "spark-01", "spark-02")
    });

    // Only boxes of one state, and then of all.
    terminal.press(&["f"]);
    terminal.wait_for("the failed box alone", |screen| {
        screen.contains("only: FAILED") && boxes(screen) == 1
    });
    terminal.press(&["f"]);
    terminal.wait_for_text("no box is like that");
    terminal.press(&["Escape"]);
    terminal.wait_until_gone("only:");

    // Only boxes with a text, as it is typed.
    terminal.press(&["/", "PORT 4"]);
    terminal.wait_for("the boxes of ports 4 and 40 to 42", |screen| {
        screen.contains("filter: PORT 4_") && screen.contains("spark-04") && boxes(screen) == 4
    });
    terminal.press(&["BSpace", "4", "1", "Enter"]);
    terminal.wait_for("the box of port 41 alone", |screen| {
        screen.contains("with \"PORT 41\"") && boxes(screen) == 1
    });

    // Its story, below the table.
    terminal.press(&["Enter"]);
    let title = format!("── spark-41 {}", mac(41));
    terminal.wait_for("the story below the table", |screen| {
        screen.contains("stage        network start") && is_above(screen, "on its way", &title)
    });
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
    terminal.wait_for_text(&format!("── spark-02 {}", mac(2)));
    terminal.wait_for_text("no NVMe disk");
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
    terminal.wait_for("what there is room for", |screen| {
        ["FAILED", "q quit", &mac(2)]
            .iter()
            .all(|part| screen.contains(part))
    });
    // The whole window is the story's where there is no room for both.
    terminal.press(&["Enter"]);
    terminal.wait_for("the story alone", |screen| {
        screen.contains("state: FAILED") && !screen.contains("STAGE")
    });

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
    // Everything that is drawn has its place: the last line is the last of the window.
    terminal.wait_for("all of it", |screen| {
        let lines: Vec<&str> = screen.trim_end().lines().collect();
        lines.len() == 40
            && lines[39].starts_with("q quit")
            && ["22 boxes:", "DETAIL", "no NVMe disk", "── spark-02"]
                .iter()
                .all(|part| screen.contains(part))
    });
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

/// Whether a process is there; one that has ended and that nobody waited for is not.
fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

#[test]
fn it_ends_where_its_terminal_is_gone() {
    needs!(TMUX);
    let folder = tempfile::tempdir().unwrap();
    records(folder.path(), 3);
    // The window is closed, or its end of it dies; with SIGHUP, or where that does not come.
    for (how, before) in [("kill-server", ""), ("kill", ""), ("kill", "setsid --wait")] {
        let terminal = Terminal::new(folder.path(), 100, 24);
        let file = terminal.path("pid");
        let watch = format!(
            "sh -c 'echo $$ >{}; exec $GB10 clients --watch'",
            file.display()
        );
        terminal.run(&format!("clear; {before} {watch}"));
        wait_for_watch(&terminal);
        let pid: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(is_running(pid));
        let began = Instant::now();
        match how {
            "kill" => {
                let server = terminal.flag("pid").parse().unwrap();
                kill_process(Pid::from_raw(server).unwrap(), Signal::KILL).unwrap();
            }
            _ => drop(terminal),
        }
        eventually("the end of the live table", || {
            (!is_running(pid)).then_some(())
        });
        assert!(
            began.elapsed() < SOON,
            "{how} {before}: {:?}",
            began.elapsed()
        );
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
        terminal.wait_for(command, |screen| {
            screen.contains("OWNED") && screen.contains("done")
        });
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
