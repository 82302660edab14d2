//! A gzip stream (RFC 1952) around miniz_oxide's deflate, as a writer.

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{MZFlush, MZStatus};
use std::io::{self, Write};

/// The level: 6, what gzip itself takes.
const LEVEL: i32 = 6;
/// Magic, deflate, no flags, no time, no hint, unknown system (RFC 1952, 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses what is written to it into `inner`. [`Gzip::finish`] ends the stream.
pub struct Gzip<W: Write> {
    inner: W,
    state: Box<CompressorOxide>,
    buffer: Box<[u8]>,
    tables: Box<Tables>,
    crc: u32,
    length: u32,
}

impl<W: Write> Gzip<W> {
    /// Begins a stream.
    pub fn new(mut inner: W) -> io::Result<Gzip<W>> {
        inner.write_all(&HEADER)?;
        let flags = create_comp_flags_from_zip_params(LEVEL, 0, 0);
        Ok(Gzip {
            inner,
            state: Box::new(CompressorOxide::new(flags)),
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
            tables: Box::new(tables()),
            crc: !0,
            length: 0,
        })
    }

    /// Ends the stream and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        while self.step(&[], MZFlush::Finish)?.1 != MZStatus::StreamEnd {}
        self.inner.write_all(&(!self.crc).to_le_bytes())?;
        self.inner.write_all(&self.length.to_le_bytes())?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    /// How much of `input` was taken.
    fn step(&mut self, input: &[u8], flush: MZFlush) -> io::Result<(usize, MZStatus)> {
        let result = deflate(&mut self.state, input, &mut self.buffer, flush);
        let status = result.status.map_err(|_| io::Error::other("the compressor failed"))?;
        self.inner.write_all(self.buffer.get(..result.bytes_written).unwrap_or(&[]))?;
        Ok((result.bytes_consumed, status))
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < input.len() {
            taken += self.step(input.get(taken..).unwrap_or(&[]), MZFlush::None)?.0;
        }
        self.crc = crc32(&self.tables, self.crc, input);
        self.length = self.length.wrapping_add(input.len() as u32);
        Ok(input.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The running CRC-32 (RFC 1952, section 8), before its final complement. Slicing by
/// four: a byte at a time would be slower than the compression it goes with.
fn crc32(tables: &Tables, mut crc: u32, bytes: &[u8]) -> u32 {
    let look = |table: usize, index: u32| tables[table][(index & 255) as usize];
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut four = [0; 4];
        four.copy_from_slice(word);
        crc ^= u32::from_le_bytes(four);
        crc = look(3, crc) ^ look(2, crc >> 8) ^ look(1, crc >> 16) ^ look(0, crc >> 24);
    }
    for byte in words.remainder() {
        crc = crc >> 8 ^ look(0, crc ^ u32::from(*byte));
    }
    crc
}

/// Made when a stream begins: in rig they would take 4 KB.
type Tables = [[u32; 256]; 4];

fn tables() -> Tables {
    let step = |value: u32, _| if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
    let first: [u32; 256] = std::array::from_fn(|index| (0..8).fold(index as u32, step));
    let next = |before: &[u32; 256]| before.map(|value| value >> 8 ^ first[(value & 255) as usize]);
    let second = next(&first);
    let third = next(&second);
    [first, second, third, next(&third)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(!crc32(&tables(), !0, b"123456789"), 0xcbf4_3926);
    }

    #[test]
    #[cfg(feature = "server")]
    fn flate2_reads_what_is_written() {
        let mut random = nanorand::WyRand::new_seed(7);
        for length in [0usize, 1, 65_535, 65_536, 1_000_001] {
            use nanorand::Rng;
            use std::io::Read;
            let data: Vec<u8> = (0..length).map(|_| random.generate_range(0..7u8)).collect();
            let mut gzip = Gzip::new(Vec::new()).unwrap();
            for part in data.chunks(10_007) {
                gzip.write_all(part).unwrap();
            }
            let packed = gzip.finish().unwrap();
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, data);
        }
    }
}
