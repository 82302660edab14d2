//! What entries say about the one behind them: a name or a target that its header has no room
//! for, as GNU tar and pax write them. Each thing once, and nothing that would make of the entry
//! what its own header does not say.

use tar::EntryType;

/// Why such an entry can't be.
type Why = &'static str;

/// What is known of the next file.
#[derive(Default)]
pub struct Said {
    /// Its path.
    pub path: Option<Vec<u8>>,
    /// Where the link leads that it is.
    pub target: Option<Vec<u8>>,
    /// Its size.
    pub size: Option<u64>,
    /// Its content is the map of a file with holes, and what lies between them.
    pub sparse: bool,
    /// What has spoken of it.
    by: Vec<EntryType>,
}

impl Said {
    /// Whether an entry of this kind is about the next one, or about all that follow.
    pub fn says(kind: EntryType) -> bool {
        use EntryType::{GNULongLink, GNULongName, XGlobalHeader, XHeader};
        matches!(kind, GNULongLink | GNULongName | XGlobalHeader | XHeader)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    /// Takes what such an entry holds.
    pub fn take(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Why> {
        if kind == EntryType::XGlobalHeader {
            let mut all = Said::default();
            all.take_records(text)?;
            let names = all.path.is_some() || all.target.is_some() || all.size.is_some() || all.sparse;
            return if names { Err("a global header is about one file") } else { Ok(()) };
        }
        if self.by.contains(&kind) {
            return Err("two headers of one kind are about the same file");
        }
        self.by.push(kind);
        let ended = || text.strip_suffix(&[0]).unwrap_or(text).to_vec();
        match kind {
            EntryType::GNULongName => once(&mut self.path, ended()),
            EntryType::GNULongLink => once(&mut self.target, ended()),
            _ => self.take_records(text),
        }
    }

    /// Takes pax's records, `LENGTH KEY=VALUE` and a line end, of which a value may have more.
    fn take_records(&mut self, mut text: &[u8]) -> Result<(), Why> {
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or("a pax header can't be read")?;
            text = rest;
            match key {
                b"path" => once(&mut self.path, value.to_vec())?,
                b"linkpath" => once(&mut self.target, value.to_vec())?,
                b"size" => {
                    let digits = value.iter().all(u8::is_ascii_digit);
                    let size = std::str::from_utf8(value).ok().filter(|_| digits);
                    let size = size.and_then(|size| size.parse().ok());
                    once(&mut self.size, size.ok_or("a pax header has a size that is none")?)?;
                }
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Why> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("two headers say the same of a file"),
    }
}

/// The first record's key and value, and what is behind it.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let digits = text.get(..space).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let pair = text.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some((pair.get(..equals)?, pair.get(equals + 1..)?, text.get(length..)?))
}
