//! Tables for a terminal of a certain width, with its line ends. What stands in them can't
//! drive it.

use super::text::{cut, safe, split, width};

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than so much.
const NARROW: usize = 6;
/// So much is left for a text that may be several rows long, at least.
const TEXT: usize = 20;

/// Rows under a head.
pub struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
    /// The last column is text, which goes on in further rows instead of being cut.
    text: bool,
}

impl Table {
    /// A table with these names over its columns; with none if they are not to be shown.
    pub fn new(head: &'static [&'static str]) -> Table {
        Table { head, rows: Vec::new(), text: false }
    }

    /// The same with text in its last column.
    pub fn with_text(head: &'static [&'static str]) -> Table {
        Table { text: true, ..Table::new(head) }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| match cell.is_empty() {
            true => "-".to_owned(),
            false => safe(&cell).into_owned(),
        });
        self.rows.push(cells.collect());
    }

    /// All of it, or `none` when there is no row.
    pub fn or(&self, none: &str, columns: usize) -> String {
        if self.rows.is_empty() { format!("{}\r\n", cut(none, columns)) } else { self.show(columns) }
    }

    /// All of it.
    pub fn show(&self, columns: usize) -> String {
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        let widths = self.widths(&head, columns);
        let mut out = String::new();
        if !head.is_empty() {
            out.push_str("\x1b[1m");
            self.push_row(&mut out, &head, &widths);
            let end = out.trim_end().len();
            out.insert_str(end, "\x1b[0m");
        }
        self.rows.iter().for_each(|row| self.push_row(&mut out, row, &widths));
        out
    }

    fn widths(&self, head: &[String], columns: usize) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0).max(head.len());
        let wide = |column: usize| {
            let cells = std::iter::once(head).chain(self.rows.iter().map(Vec::as_slice));
            cells.filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..count).map(wide).collect();
        let room = columns.saturating_sub(GAP * count.saturating_sub(1));
        if self.text
            && let Some((text, others)) = widths.split_last_mut()
        {
            narrow(others, room.saturating_sub(TEXT.min(*text)));
            *text = (*text).min(room.saturating_sub(others.iter().sum())).max(1);
        } else {
            narrow(&mut widths, room);
        }
        widths
    }

    fn push_row(&self, out: &mut String, row: &[String], widths: &[usize]) {
        let (mut rest, mut indent) = ("", 0);
        for (column, (cell, wide)) in row.iter().zip(widths).enumerate() {
            let last = column + 1 == row.len();
            let shown = if last && self.text {
                let (front, behind) = part(cell, *wide);
                rest = behind;
                front.into()
            } else {
                cut(cell, *wide)
            };
            out.push_str(&shown);
            if !last {
                (width(&shown)..wide + GAP).for_each(|_| out.push(' '));
                indent += wide + GAP;
            }
        }
        out.push_str("\r\n");
        let wide = widths.last().copied().unwrap_or(1);
        while !rest.is_empty() {
            let (front, behind) = part(rest, wide);
            (0..indent).for_each(|_| out.push(' '));
            out.push_str(front);
            out.push_str("\r\n");
            rest = behind;
        }
    }
}

/// Makes the widest columns narrower until all fit.
fn narrow(widths: &mut [usize], room: usize) {
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROW => *widest -= 1,
            _ => return,
        }
    }
}

/// A row of a text, ending between words where that is possible, and the rest.
fn part(text: &str, most: usize) -> (&str, &str) {
    if width(text) <= most {
        return (text, "");
    }
    let (front, behind) = match split(text, most) {
        // Narrower than a character.
        ("", _) => text.split_at(text.chars().next().map_or(0, char::len_utf8)),
        parts => parts,
    };
    match front.rfind(' ') {
        _ if behind.starts_with(' ') => (front, behind.trim_start()),
        Some(space) if space > 0 => {
            let (front, behind) = text.split_at(space);
            (front, behind.trim_start())
        }
        _ => (front, behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(mut table: Table, rows: &[&[&str]]) -> Table {
        rows.iter().for_each(|row| table.row(row.iter().map(|cell| (*cell).to_owned())));
        table
    }

    #[test]
    fn columns_are_aligned_and_the_widest_is_cut() {
        let rows: &[&[&str]] = &[&["web", "running"], &["漢字-very-long-name", ""]];
        let table = table(Table::new(&["APP", "STATE"]), rows);
        assert_eq!(
            table.show(60),
            "\x1b[1mAPP                  STATE\x1b[0m\r\nweb                  running\r\n\
             漢字-very-long-name  -\r\n"
        );
        assert_eq!(
            table.show(20),
            "\x1b[1mAPP          STATE\x1b[0m\r\nweb          running\r\n漢字-very-…  -\r\n"
        );
        // Too narrow for anything, it is not made illegible.
        assert!(table.show(1).contains("web     runni…\r\n"));
        assert_eq!(Table::new(&["APP"]).or("no apps", 60), "no apps\r\n");
    }

    #[test]
    fn text_goes_on_in_further_rows() {
        let rows: &[&[&str]] =
            &[&["10:00", "the quick brown fox\u{1b}[2J jumps"], &["1", "aaaaaaaaaabbbbbbbbbbcccccc"]];
        let table = table(Table::with_text(&[]), rows);
        assert_eq!(
            table.show(27),
            "10:00  the quick brown\r\n       fox\\u{1b}[2J jumps\r\n\
             1      aaaaaaaaaabbbbbbbbbb\r\n       cccccc\r\n"
        );
        assert!(table.show(0).lines().count() > 20);
    }
}
