//! Permissions, kinds and names of files.

#[cfg(not(target_os = "linux"))]
use libc::{__error as errno, fstatat, readdir, stat};
use libc::{S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, mode_t};
// Where words have 32 bits the others know no large files.
#[cfg(target_os = "linux")]
use libc::{__errno_location as errno, fstatat64 as fstatat, readdir64 as readdir, stat64 as stat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where rig's configuration is by default: below the directory that this variable names.
pub const HOME: (&str, &str) = ("HOME", ".config/rig");

/// Where what rig can do without is kept by default, in the same way.
pub const CACHE: (&str, &str) = ("HOME", ".cache/rig");

/// How [`create`] guards a file, for people.
pub const GUARD: &str = "mode 0600";

/// Opens a file to be written anew, which its owner alone may read (0600).
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Opens a regular file to be read. A link in its place is not followed, and a named pipe
/// not waited for.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Makes a directory, and those above it, which their owner alone may look into (0700).
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What is known of a file without opening it.
#[derive(Clone, Copy)]
pub struct About {
    mode: mode_t,
    /// How many bytes it has.
    pub size: u64,
    /// What changes when it does: when its content and its inode were changed (nanoseconds since
    /// 1970), and which inode it is.
    pub stamp: [u64; 3],
}

impl About {
    fn is(&self, kind: mode_t) -> bool {
        self.mode & S_IFMT == kind
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.is(S_IFREG)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.is(S_IFDIR)
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.is(S_IFLNK)
    }

    /// What it is when it is none of these.
    pub fn special(&self) -> &'static str {
        match self.mode & S_IFMT {
            S_IFIFO => "a named pipe",
            S_IFSOCK => "a socket",
            _ => "a device",
        }
    }

    /// The permission bits.
    #[allow(clippy::useless_conversion)] // Elsewhere than on Linux modes are shorter.
    pub fn mode(&self) -> u32 {
        u32::from(self.mode) & 0o777
    }

    /// Whether it can be read as sure as can be told without opening it: by everybody.
    pub fn is_readable(&self) -> bool {
        self.mode & 0o444 == 0o444
    }
}

/// What is at a path. A link is not followed.
pub fn about(path: &Path) -> io::Result<About> {
    about_in(libc::AT_FDCWD, &CString::new(path.as_os_str().as_bytes())?)
}

#[allow(clippy::useless_conversion)] // Elsewhere than on Linux with 64 bits numbers are shorter.
fn about_in(directory: i32, name: &CStr) -> io::Result<About> {
    let mut data = MaybeUninit::<stat>::uninit();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name ends with a zero byte, and there is room for what is told.
    if unsafe { fstatat(directory, name.as_ptr(), data.as_mut_ptr(), flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was told.
    let data = unsafe { data.assume_init() };
    let nanoseconds = |seconds: i64, rest: i64| (seconds.wrapping_mul(1_000_000_000) + rest).cast_unsigned();
    let written = nanoseconds(data.st_mtime.into(), data.st_mtime_nsec.into());
    let changed = nanoseconds(data.st_ctime.into(), data.st_ctime_nsec.into());
    let stamp = [written, changed, data.st_ino];
    Ok(About { mode: data.st_mode, size: data.st_size.cast_unsigned(), stamp })
}

/// What is in a directory, in no order: the names behind `prefix`, and what they are. (With musl
/// the standard library would look for each by its whole path, which takes several times as long.)
pub fn list(path: &Path, prefix: &Path) -> io::Result<Vec<(PathBuf, io::Result<About>)>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = Vec::new();
    // SAFETY: the path ends with a zero byte. The directory is closed below and nowhere else, and
    // an item is used before the next one is read.
    unsafe {
        let directory = libc::opendir(path.as_ptr());
        if directory.is_null() {
            return Err(io::Error::last_os_error());
        }
        let ended = loop {
            *errno() = 0;
            let item = readdir(directory);
            if item.is_null() {
                break io::Error::last_os_error();
            }
            let name = CStr::from_ptr((*item).d_name.as_ptr());
            if !matches!(name.to_bytes(), b"." | b"..") {
                let about = about_in(libc::dirfd(directory), name);
                // No more room than it needs: there may be very many.
                let mut path = PathBuf::with_capacity(prefix.as_os_str().len() + 1 + name.count_bytes());
                path.push(prefix);
                path.push(OsStr::from_bytes(name.to_bytes()));
                found.push((path, about));
            }
        };
        libc::closedir(directory);
        match ended.raw_os_error() {
            Some(0) => Ok(found),
            _ => Err(ended),
        }
    }
}

/// A path's bytes, its parts separated by slashes.
pub fn bytes(path: &Path) -> impl AsRef<[u8]> {
    path.as_os_str().as_bytes()
}
