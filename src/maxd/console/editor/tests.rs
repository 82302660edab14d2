//! The editor before a terminal: what a person sees after keys.
#![allow(clippy::unwrap_used)]

use super::*;
use nanorand::{Rng, WyRand};
use std::num::NonZero;
use vt100::Parser;

/// An editor, its terminal, and what has come of it.
struct Desk {
    editor: Editor,
    screen: Parser,
    events: Vec<Event>,
    bells: usize,
}

const WORDS: &[&str] = &["apps", "app", "alerts", "releases", "restart", "名前", "名字"];

impl Desk {
    fn new(columns: u16) -> Desk {
        let screen = Parser::new(size(12), size(columns), 100);
        let mut desk = Desk { editor: Editor::new("net> ", columns), screen, events: Vec::new(), bells: 0 };
        desk.editor.begin();
        desk.type_in("");
        desk
    }

    /// Types, and answers all events as a program does that does nothing.
    fn type_in(&mut self, text: &str) -> &mut Desk {
        self.feed(text.as_bytes());
        self
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.editor.feed(bytes);
        while let Some(event) = self.editor.poll() {
            match &event {
                Event::Complete(line) => {
                    let start = line.rfind(' ').map_or(0, |at| at + 1);
                    let typed = &line[start..];
                    let fits = WORDS.iter().filter(|word| word.starts_with(typed));
                    let words = fits.map(|word| (*word).to_owned()).collect();
                    self.editor.complete(Completion { start, words });
                }
                Event::Line(_) => {
                    self.events.push(event);
                    self.editor.begin();
                }
                Event::End => self.events.push(event),
            }
        }
        let out = self.editor.take();
        self.bells += out.matches('\x07').count();
        self.screen.process(out.as_bytes());
    }

    fn resize(&mut self, columns: u16) {
        self.screen.screen_mut().set_size(size(12), size(columns.max(1)));
        self.editor.resize(columns);
        self.type_in("");
    }

    /// The rows down to the cursor's, and the cursor's column.
    fn shown(&self) -> (Vec<String>, u16) {
        let screen = self.screen.screen();
        let (row, column) = screen.cursor_position();
        let rows = screen.rows(0, screen.size().1.get()).take(usize::from(row) + 1);
        (rows.map(|row| row.trim_end().to_owned()).collect(), column)
    }

    /// The cursor's row with `|` before the cursor.
    fn row(&self) -> String {
        let (rows, column) = self.shown();
        let row = rows.last().unwrap();
        let (mut out, mut at) = (String::new(), 0);
        for c in row.chars() {
            if at == usize::from(column) && wide(c) > 0 {
                out.push('|');
            }
            out.push(c);
            at += wide(c);
        }
        if at <= usize::from(column) {
            (at..usize::from(column)).for_each(|_| out.push(' '));
            out.push('|');
        }
        out
    }

    fn lines(&self) -> Vec<&str> {
        let lines = self.events.iter().filter_map(|event| match event {
            Event::Line(line) => Some(line.as_str()),
            _ => None,
        });
        lines.collect()
    }
}

fn size(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn row_after(keys: &str) -> String {
    Desk::new(40).type_in(keys).row()
}

#[test]
fn keys_do_what_they_do_in_readline() {
    for (keys, row) in [
        ("", "net> |"),
        ("abc", "net> abc|"),
        ("abc\x1b[D\x1b[D", "net> a|bc"),
        ("abc\x01", "net> |abc"),
        ("abc\x1b[Hx", "net> x|abc"),
        ("abc\x01\x06\x02\x05d", "net> abcd|"),
        ("abc\x7f\x08", "net> a|"),
        ("abc\x01\x04", "net> |bc"),
        ("abc\x01\x1b[3~", "net> |bc"),
        ("one two-three\x1bb\x1bb", "net> one |two-three"),
        ("one two-three\x01\x1bf\x1bf", "net> one two|-three"),
        ("one two-three\x17", "net> one |"),
        ("one two-three\x1b\x7f", "net> one two-|"),
        ("one two\x01\x1bd", "net> | two"),
        ("one two\x1b[1;5D\x0b", "net> one |"),
        ("one two\x15", "net> |"),
        ("one two\x1b[1;5D\x15\x19\x19", "net> one one |two"),
        // Cuts in a row are put in together, in their order.
        ("one two three\x17\x17\x19", "net> one two three|"),
        ("one two\x01\x1bd\x1bd\x19", "net> one two|"),
        ("abc\x14", "net> acb|"),
        ("abc\x01\x06\x14", "net> ba|c"),
        ("é漢字\x1b[Dx", "net> é漢x|字"),
        ("漢字\x14", "net> 字漢|"),
        ("漢字\x1b[D\x7f", "net> |字"),
        // What combines goes with what it combines with.
        ("ae\u{301}x\x1b[D\x1b[D", "net> a|e\u{301}x"),
        ("ae\u{301}\x7f", "net> a|"),
        ("a\x1b[15~\x1b]0;t\x07\x1b[?1;2cb", "net> ab|"),
    ] {
        assert_eq!(row_after(keys), row, "{}", keys.escape_debug());
    }
}

#[test]
fn what_can_not_be_done_rings() {
    for keys in ["\x7f", "\x1b[D", "\x1b[A", "\x1b[B", "a\x04", "\x14", "\x18", "zz\t"] {
        assert_eq!(Desk::new(40).type_in(keys).bells, 1, "{}", keys.escape_debug());
    }
}

#[test]
fn lines_are_run_and_come_back() {
    let mut desk = Desk::new(40);
    desk.type_in("one\rtwo\ntwo\r\n typed\x1b[A");
    assert_eq!((desk.lines(), desk.row()), (vec!["one", "two", "two"], "net> two|".to_owned()));
    assert_eq!(desk.type_in("\x10").row(), "net> one|");
    assert_eq!(desk.type_in("\x0e\x1b[B").row(), "net>  typed|");
    desk.type_in("\x03");
    assert_eq!(desk.shown().0[3..], ["net>  typed^C", "net>"]);
    assert_eq!(desk.type_in("x\x04\x7f").row(), "net> |");
    desk.type_in("\x04never");
    assert_eq!(desk.events.last(), Some(&Event::End));
}

#[test]
fn the_search_goes_back_through_lines() {
    let mut desk = Desk::new(60);
    desk.type_in("restart web\rapp web\rrestart api\rabc");
    assert_eq!(desk.type_in("\x12").row(), "(search)'': abc|");
    assert_eq!(desk.type_in("rest").row(), "(search)'rest': |restart api");
    assert_eq!(desk.type_in("\x12").row(), "(search)'rest': |restart web");
    assert_eq!(desk.type_in("\x12").row(), "(failed search)'rest': |restart web");
    assert_eq!(desk.type_in("\x05!").row(), "net> restart web!|");
    // Further up and down it goes from there.
    assert_eq!(desk.type_in("\x1b[B").row(), "net> app web|");
    assert_eq!(desk.type_in("\x1b[B\x1b[B").row(), "net> abc|");
    assert_eq!(desk.type_in("\x12zz\x7f\x7fapp").row(), "(search)'app': |app web");
    assert_eq!(desk.type_in("\x07").row(), "net> abc|");
    desk.type_in("\x12web\r");
    assert_eq!(desk.lines().last(), Some(&"app web"));
    desk.type_in("\x12web\x03");
    assert_eq!((desk.lines().len(), desk.row()), (4, "net> |".to_owned()));
}

#[test]
fn a_tab_completes_first_and_then_lists() {
    let mut desk = Desk::new(30);
    assert_eq!(desk.type_in("rel\t").row(), "net> releases |");
    assert_eq!(desk.type_in("\x15a\t").row(), "net> a|");
    desk.type_in("\x15\x0creleases 名\t");
    assert_eq!(desk.shown().0, ["net> releases 名", "名前  名字", "net> releases 名"]);
    // Before a space there is one already.
    assert_eq!(desk.type_in("\x15rest web\x1bb\x1b[D\t").row(), "net> restart| web");
    assert_eq!(desk.type_in("\x05\x15al\x1b[D\t").row(), "net> a|l");
    assert!(desk.bells == 0);
}

#[test]
fn what_is_pasted_waits_for_enter() {
    let mut desk = Desk::new(60);
    desk.type_in("stop \x1b[200~web\x03\x1b[A\tnow\r\x1b[201~");
    assert_eq!((desk.lines().len(), desk.row()), (0, "net> stop web now|".to_owned()));
    desk.type_in("\x15\x1b[200~app a\r\n\r\napp b\n\x1b[201~");
    assert_eq!((desk.lines().len(), desk.row()), (0, "net> app a↵↵app b|".to_owned()));
    desk.type_in("\r");
    assert_eq!(desk.lines(), ["app a", "app b"]);
    assert_eq!(desk.shown().0[1..], ["net> app b", "net>"]);
    assert_eq!(desk.type_in("\x1b[A\x1b[A").row(), "net> app a|");
    // What is too long is not there in part.
    let long = "x".repeat(5000);
    assert_eq!(desk.type_in(&format!("\x1b[200~{long}\x1b[201~")).row(), "net> app a|");
    assert_eq!(desk.bells, 1);
}

#[test]
fn a_long_line_scrolls_and_a_resize_shows_it_anew() {
    let mut desk = Desk::new(20);
    desk.type_in("0123456789abcd");
    assert_eq!(desk.row(), "net> 0123456789abcd|");
    assert_eq!(desk.type_in("ef").row(), "net> <89abcdef|");
    assert_eq!(desk.type_in("\x1b[D\x1b[D\x1b[D").row(), "net> <89abc|def");
    assert_eq!(desk.type_in("\x1b[D").row(), "net> 0123456789ab|c>");
    assert_eq!(desk.type_in("\x01").row(), "net> |0123456789abc>");
    desk.resize(40);
    assert_eq!(desk.row(), "net> |0123456789abcdef");
    desk.resize(12);
    assert_eq!(desk.row(), "|0123456789>");
    desk.resize(3);
    desk.resize(0);
    desk.resize(30);
    assert_eq!(desk.type_in("\x05").row(), "net> 0123456789abcdef|");
    desk.type_in("\x15漢字漢字漢字漢字漢字漢字漢字漢字\x01");
    assert_eq!(desk.row(), "net> |漢字漢字漢字漢字漢字漢 >");
    assert_eq!(desk.type_in("\x05").row(), "net> < 字漢字漢字漢字漢字|");
    assert_eq!(desk.type_in("\x0c").shown().0.len(), 1);
}

#[test]
fn an_interrupt_forgets_what_was_typed_ahead() {
    let mut editor = Editor::new("> ", 80);
    editor.begin();
    editor.feed(b"\x1b[200~one\ntwo\nthree\x1b[201~\rfour\r");
    assert_eq!(editor.poll(), Some(Event::Line("one".to_owned())));
    assert_eq!((editor.poll(), editor.interrupted()), (None, false));
    editor.feed(b"\x03five\r");
    assert!(editor.interrupted());
    editor.begin();
    assert_eq!(editor.poll(), Some(Event::Line("five".to_owned())));
    editor.feed(&vec![b'x'; 2 * WAITING]);
    assert_eq!(editor.room(), 0);
}

/// Keys, text and rubbish, in any order.
fn anything(random: &mut WyRand) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "a",
        "b ",
        "rest",
        "é",
        "漢",
        "🦀",
        "e\u{301}",
        "\r",
        "\n",
        "\t",
        "\x01",
        "\x02",
        "\x03",
        "\x05",
        "\x06",
        "\x07",
        "\x08",
        "\x0b",
        "\x0c",
        "\x0e",
        "\x10",
        "\x12",
        "\x14",
        "\x15",
        "\x17",
        "\x19",
        "\x7f",
        "\x1b",
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\x1b[H",
        "\x1bOF",
        "\x1b[3~",
        "\x1bb",
        "\x1bf",
        "\x1bd",
        "\x1b\x7f",
        "\x1b[1;5C",
        "\x1b[200~",
        "\x1b[201~",
        "\x1b]0;x\x07",
        "\x1b[",
        "\x1bO",
        "0123456789",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.generate_range(1..80_usize) {
        match random.generate_range(0..12_u8) {
            0 => bytes.push(random.generate::<u8>()),
            _ => bytes.extend_from_slice(PIECES[random.generate_range(0..PIECES.len())].as_bytes()),
        }
    }
    // The end of input would not come twice.
    bytes.retain(|byte| *byte != 0x04);
    bytes
}

#[test]
fn the_pieces_in_which_bytes_come_make_no_difference() {
    let mut random = WyRand::new_seed(7);
    for round in 0..1500 {
        let bytes = anything(&mut random);
        let columns = random.generate_range(20..60_u16);
        let (mut whole, mut pieces) = (Desk::new(columns), Desk::new(columns));
        whole.feed(&bytes);
        bytes.iter().for_each(|byte| pieces.feed(&[*byte]));
        let shown = String::from_utf8_lossy(&bytes).escape_debug().to_string();
        assert_eq!(whole.events, pieces.events, "{round}: {shown}");
        assert_eq!(whole.shown(), pieces.shown(), "{round}: {shown}");
        assert!(whole.editor.line == pieces.editor.line, "{round}: {shown}");
        // What is shown is what there is, also when it was not written as a whole.
        let before = pieces.shown();
        pieces.editor.paint();
        pieces.feed(b"");
        assert_eq!(pieces.shown(), before, "{round}: {shown}");
    }
}
