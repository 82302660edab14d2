//! rig in a pseudo-terminal, and what a person sees there.

use crate::harness::{PATIENCE, Rig, text, wait_for};
use nix::sys::termios::{LocalFlags, Termios};
use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vt100::Parser;

/// A terminal with rig in it.
pub struct Terminal {
    pair: PtyPair,
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    seen: Arc<Mutex<Seen>>,
    /// The modes before rig ran.
    before: Termios,
}

struct Seen {
    bytes: Vec<u8>,
    screen: Parser,
}

impl Terminal {
    /// rig in a terminal of the usual size.
    pub fn spawn(rig: &Rig, args: &[&str]) -> Terminal {
        Terminal::sized(rig, args, 80, 24)
    }

    /// rig below a shell that goes on when rig is stopped, and continues it when a line is
    /// typed.
    pub fn below_a_shell(rig: &Rig, args: &[&str]) -> Terminal {
        let command = rig.command(args);
        let mut builder = CommandBuilder::new("/bin/sh");
        builder.args(["-c", "set -m; \"$@\"; echo stopped; read line; fg >/dev/null; echo over=$?", "sh"]);
        builder.arg(command.get_program());
        Terminal::with(rig, command, builder, 80, 24)
    }

    /// rig in a terminal of so many columns and rows.
    pub fn sized(rig: &Rig, args: &[&str], columns: u16, rows: u16) -> Terminal {
        let command = rig.command(args);
        let builder = CommandBuilder::new(command.get_program());
        Terminal::with(rig, command, builder, columns, rows)
    }

    fn with(rig: &Rig, command: Command, mut builder: CommandBuilder, columns: u16, rows: u16) -> Terminal {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        builder.args(command.get_args());
        builder.env_clear();
        builder.env("TERM", "xterm");
        for (key, value) in command.get_envs() {
            builder.env(key, value.unwrap());
        }
        builder.cwd(rig.home.path());
        let before = pair.master.get_termios().unwrap();
        let child = pair.slave.spawn_command(builder).unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            bytes: Vec::new(),
            screen: Parser::new(some(rows), some(columns), 0),
        }));
        let writer = pair.master.take_writer().unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut seen = sink.lock().unwrap();
                seen.bytes.extend_from_slice(&buffer[..count]);
                seen.screen.process(&buffer[..count]);
            }
        });
        Terminal { pair, child, writer, seen, before }
    }

    /// Everything rig has written.
    pub fn written(&self) -> String {
        text(&self.seen.lock().unwrap().bytes)
    }

    /// Whether the last that was written is this.
    pub fn ends_with(&self, text: &str) -> bool {
        self.seen.lock().unwrap().bytes.ends_with(text.as_bytes())
    }

    /// What is on the screen, without the spaces at the ends of lines.
    pub fn screen(&self) -> String {
        let contents = self.seen.lock().unwrap().screen.screen().contents();
        contents.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// What is on the screen with its colours, a row a line.
    pub fn formatted(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let screen = seen.screen.screen();
        let rows = screen.rows_formatted(0, screen.size().1.get());
        rows.map(|row| row + "\n").collect()
    }

    /// Whether the alternate screen is shown, and whether the cursor is hidden.
    pub fn is_full(&self) -> (bool, bool) {
        let seen = self.seen.lock().unwrap();
        (seen.screen.screen().alternate_screen(), seen.screen.screen().hide_cursor())
    }

    /// Waits until the ordinary screen is shown, with its cursor.
    #[track_caller]
    pub fn is_restored(&self) {
        wait_for("the ordinary screen", || (self.is_full() == (false, false)).then_some(()));
    }

    /// Waits until rig has written this.
    #[track_caller]
    pub fn wait(&self, text: &str) {
        wait_for(text, || self.written().contains(text).then_some(()));
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let ends = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            assert!(Instant::now() < ends, "waited too long for {text:?}; there is:\n{}", self.screen());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.seen.lock().unwrap().screen.screen_mut().set_size(some(rows), some(columns));
        self.pair.master.resize(size(columns, rows)).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// The process that was started by the one in the terminal.
    pub fn grandchild(&self) -> u32 {
        let pid = self.pid().to_string();
        let out = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output().unwrap();
        text(&out.stdout).trim().parse().unwrap()
    }

    pub fn end(&mut self) -> u32 {
        wait_for("rig to end", || self.child.try_wait().unwrap()).exit_code()
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        self.modes().local_flags.contains(LocalFlags::ECHO)
    }

    /// The terminal's modes, as `stty -g` has them.
    pub fn modes(&self) -> Termios {
        self.pair.master.get_termios().unwrap()
    }

    /// The same before rig ran.
    pub fn modes_at_start(&self) -> Termios {
        self.before.clone()
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { cols: columns, rows, ..PtySize::default() }
}

fn some(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}
