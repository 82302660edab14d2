//! A full screen of lines, of which only those that have changed are drawn.

use crate::error::{Error, Result};
use crate::sys::terminal::{self, FullScreen};

/// The alternate screen. Dropping it shows the ordinary one again.
pub struct Screen {
    guard: Option<FullScreen>,
    columns: usize,
    rows: usize,
    /// What is shown, a line a row.
    shown: Vec<String>,
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> Result<Screen> {
        let mut screen = Screen { guard: None, columns: 0, rows: 0, shown: Vec::new() };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> Result<()> {
        self.guard = Some(FullScreen::new().map_err(|error| Error::io("draw on", "the terminal", &error))?);
        self.measure();
        Ok(())
    }

    /// The columns and rows there are.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Everything is drawn anew the next time, in whatever size the terminal has.
    pub fn measure(&mut self) {
        (self.columns, self.rows) = terminal::size().filter(|(_, rows)| *rows > 0).unwrap_or((80, 24));
        self.shown.clear();
    }

    /// Shows these lines, none of them wider than the screen; those that are too many are
    /// left out.
    pub fn draw(&mut self, mut lines: Vec<String>) -> Result<()> {
        lines.resize(self.rows, String::new());
        let mut out = String::new();
        if self.shown.is_empty() {
            out.push_str("\u{1b}[2J");
        }
        for (row, line) in lines.iter().enumerate() {
            if self.shown.get(row).map_or("", String::as_str) != line {
                out.push_str("\u{1b}[");
                out.push_str(&(row + 1).to_string());
                out.push_str(";1H\u{1b}[0m\u{1b}[2K");
                out.push_str(line);
            }
        }
        self.shown = lines;
        match &self.guard {
            Some(guard) if !out.is_empty() => {
                guard.write(&out).map_err(|error| Error::io("draw on", "the terminal", &error))
            }
            _ => Ok(()),
        }
    }

    /// Gives the terminal back and stops, as Ctrl-Z does; takes it again when rig is
    /// continued.
    pub fn suspend(&mut self) -> Result<()> {
        self.guard = None;
        terminal::suspend();
        self.take()
    }
}
