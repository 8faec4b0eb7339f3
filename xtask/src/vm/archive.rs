//! Writes a cpio archive of the kind that a kernel unpacks into its memory: "newc", the format of
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Write};

/// `S_IFDIR`, `S_IFREG` and `S_IFLNK` of `stat(2)`.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written. A directory comes before what is in it.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// An empty one.
    pub fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// A directory that everybody may use.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY | 0o755, &[])
    }

    /// A file that may be run.
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, FILE | 0o755, content)
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, LINK | 0o777, target.as_bytes())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Thirteen numbers of eight hexadecimal digits behind the magic, the name with its zero, and
    /// the content, either filled up to a multiple of four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let name = name.trim_start_matches('/');
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // Inode, mode, owner, group, links, time, size, four device numbers, name, checksum.
        let header = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        write!(self.out, "070701")?;
        for number in header {
            write!(self.out, "{number:08x}")?;
        }
        write!(self.out, "{name}\0")?;
        self.fill(HEADER + name.len() + 1)?;
        self.out.write_all(content)?;
        self.fill(content.len())
    }

    fn fill(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 4][..missing])
    }
}

/// Bytes of the magic and of thirteen numbers.
const HEADER: usize = 6 + 13 * 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_at_multiples_of_four_and_the_trailer_ends_them() -> io::Result<()> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("etc")?;
        archive.file("/etc/motd", b"hello")?;
        archive.link("bin", "etc")?;
        let bytes = archive.finish()?;

        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        // The mode is the second number, the size the seventh; the leading slash is gone.
        let file = &text[starts[1]..starts[2]];
        assert_eq!(&file[14..22], "000081ed");
        assert_eq!(&file[54..62], "00000005");
        assert!(file[110..].starts_with("etc/motd\0") && file.contains("hello\0\0\0"));
        assert!(text[starts[3]..].contains(TRAILER));
        Ok(())
    }
}
