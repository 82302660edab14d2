//! What stands before each file in a tar archive, as GNU tar has it (tar(5)). Writing alone:
//! maxd reads with the crate `tar`.

use std::io::{self, Write};

/// Everything begins at a multiple of this.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// A file of so many bytes, which follow.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Link(&'a [u8]),
}

/// Writes what stands before an entry.
pub fn head(out: &mut dyn Write, name: &[u8], kind: Kind<'_>, mode: u32) -> io::Result<()> {
    let (letter, size, target) = match kind {
        Kind::File(size) => (b'0', size, &[][..]),
        Kind::Directory => (b'5', 0, &[][..]),
        Kind::Link(target) => (b'2', 0, target),
    };
    long(out, b'K', target)?;
    long(out, b'L', name)?;
    block(out, name, letter, (mode, size), target)
}

/// Writes what stands behind a file of so many bytes.
pub fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let over = (size % BLOCK as u64) as usize;
    out.write_all([0; BLOCK].get(over..).filter(|_| over > 0).unwrap_or_default())
}

/// Writes the end of the archive.
pub fn end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// A name or target that has no room in the block, as a file of its own before it.
fn long(out: &mut dyn Write, letter: u8, name: &[u8]) -> io::Result<()> {
    if name.len() <= NAME {
        return Ok(());
    }
    let size = name.len() as u64 + 1;
    block(out, b"././@LongLink", letter, (0, size), &[])?;
    out.write_all(name)?;
    out.write_all(&[0])?;
    pad(out, size)
}

/// The room for a name.
const NAME: usize = 100;

fn block(
    out: &mut dyn Write,
    name: &[u8],
    letter: u8,
    (mode, size): (u32, u64),
    target: &[u8],
) -> io::Result<()> {
    let mut block = [0; BLOCK];
    let mut at = 0;
    let mut put = |text: &[u8], room| {
        block.iter_mut().skip(at).zip(text.iter().take(room)).for_each(|(to, from)| *to = *from);
        at += room;
    };
    put(name, NAME);
    put(&octal::<8>(mode.into()), 8);
    put(&octal::<8>(0), 8);
    put(&octal::<8>(0), 8);
    // What is too much for eleven digits is a number of eleven bytes.
    if size >> 33 == 0 {
        put(&octal::<12>(size), 12);
    } else {
        put(&[0x80, 0, 0, 0], 4);
        put(&size.to_be_bytes(), 8);
    }
    put(&octal::<12>(0), 12);
    // The sum is that of a block with spaces in its place.
    put(b"        ", 8);
    put(&[letter], 1);
    put(target, NAME);
    put(b"ustar  ", 8);
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    block.iter_mut().skip(148).zip(octal::<8>(sum)).for_each(|(to, from)| *to = from);
    out.write_all(&block)
}

/// A number in octal digits and a zero byte.
fn octal<const ROOM: usize>(mut number: u64) -> [u8; ROOM] {
    let mut digits = [0; ROOM];
    for digit in digits.iter_mut().rev().skip(1) {
        *digit = b'0' + (number & 7) as u8;
        number >>= 3;
    }
    digits
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn the_crate_reads_what_is_written() {
        let mut out = Vec::new();
        for length in [1, 99, 100, 101, 511, 512, 900] {
            let (name, target) = (vec![b'n'; length], vec![b't'; length]);
            head(&mut out, &name, Kind::File(length as u64), 0o640).unwrap();
            out.extend_from_slice(&name);
            pad(&mut out, length as u64).unwrap();
            head(&mut out, &name, Kind::Link(&target), 0o777).unwrap();
            head(&mut out, &name, Kind::Directory, 0o755).unwrap();
        }
        end(&mut out).unwrap();
        let mut archive = tar::Archive::new(&out[..]);
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        for length in [1, 99, 100, 101, 511, 512, 900] {
            let (name, target) = (vec![b'n'; length], vec![b't'; length]);
            for (kind, mode) in [
                (tar::EntryType::Regular, 0o640),
                (tar::EntryType::Symlink, 0o777),
                (tar::EntryType::Directory, 0o755),
            ] {
                let mut entry = entries.next().unwrap();
                assert_eq!(entry.path_bytes(), name);
                assert_eq!((entry.header().entry_type(), entry.header().mode().unwrap()), (kind, mode));
                let link = (kind == tar::EntryType::Symlink).then_some(&target[..]);
                assert_eq!(entry.link_name_bytes().as_deref(), link);
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert_eq!(content, if kind == tar::EntryType::Regular { &name[..] } else { &[] });
            }
        }
        assert!(entries.next().is_none());
    }

    #[test]
    fn sizes_of_any_length_are_read() {
        for size in [0, 1, (1 << 33) - 1, 1 << 33, u64::MAX] {
            let mut out = Vec::new();
            head(&mut out, b"n", Kind::File(size), 0o600).unwrap();
            assert_eq!(tar::Header::from_byte_slice(&out).size().unwrap(), size);
        }
    }

    #[test]
    fn what_the_crate_writes_is_the_same() {
        let (mut ours, mut theirs) = (Vec::new(), tar::Builder::new(Vec::new()));
        for length in [5, 100, 101, 1000] {
            let name = "n".repeat(length);
            head(&mut ours, name.as_bytes(), Kind::File(5), 0o644).unwrap();
            ours.extend_from_slice(b"hello");
            pad(&mut ours, 5).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(5);
            theirs.append_data(&mut header, &name, &b"hello"[..]).unwrap();
        }
        end(&mut ours).unwrap();
        let theirs = theirs.into_inner().unwrap();
        assert_eq!(ours.len(), theirs.len());
    }
}
