//! A look at a process, through `/proc`.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use marque_credential::evidence::{COMMAND_LINE_BYTES_MAX, Process};
use marque_identity::Digest;
use marque_signing::PartsDigest;

use crate::hold::Hold;
use crate::{AttestError, cgroup};

/// Executables that agents run in have 10 to 150 MB, runtimes with everything linked in up to 400.
pub(crate) const EXECUTABLE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// `stat`, `status` and `cgroup` have a few hundred bytes to a few KiB.
const PROC_FILE_BYTES_MAX: u64 = 64 * 1024;
/// One read of an executable.
const PART_BYTES: usize = 128 * 1024;
/// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)), counted behind the command's closing bracket.
const START_FIELD: usize = 22 - 3;

/// Who is on the other end, by the kernel's word: its credentials when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What must not change from the connection to the end of the look: when the process began, and the file it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    started_ticks: u64,
    executable: FileState,
}

/// Which file it is, and how it stood. Of a file that is written to, at least one of these changes: the time of its
/// change (ctime) can't be set back by its owner, as that of its modification can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn of(file: &File) -> Result<Self, AttestError> {
        let metadata = file.metadata().map_err(|source| unreadable("executable", source))?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The first look, as soon as the connection is there.
pub(crate) fn sight(peer: Peer) -> Result<Sighting, AttestError> {
    Ok(Sighting { started_ticks: started(peer)?, executable: FileState::of(&executable(peer)?)? })
}

/// The look itself. Blocks: it reads the whole executable.
///
/// 1. The process is the one that was sighted: the same start, so its number was not given anew.
/// 2. It is the user that connected.
/// 3. The file that it runs is opened by what the kernel keeps of it, not by its path, which may name another file by
///    now; it is the file that was sighted, and it is hashed; meanwhile nobody writes to it.
/// 4. Its path, command line and control group are read.
/// 5. It is still the process of step 1, and runs the same file: what was read was of one process.
/// 6. And that one is the process that connected.
pub(crate) fn look(peer: Peer, sighted: Sighting, hold: &Hold) -> Result<Process, AttestError> {
    // 1.
    if started(peer)? != sighted.started_ticks {
        return Err(AttestError::Gone);
    }
    // 2.
    if effective_user(&read(peer, "status")?) != Some(peer.uid) {
        return Err(AttestError::Changed { what: "its user" });
    }
    // 3.
    let file = executable(peer)?;
    let exe_sha256 = steady_digest(&file, &file, sighted.executable)?;
    // 4.
    let exe = std::fs::read_link(entry(peer, "exe")).map_err(|source| unreadable("executable's path", source))?;
    let exe = exe.into_os_string().into_string();
    let exe = exe.map_err(|_| AttestError::NotUnderstood { what: "the executable's path is not UTF-8" })?;
    let (command_line, command_line_cut) = command_line(&read_cut(peer, "cmdline", COMMAND_LINE_BYTES_MAX + 1)?);
    let groups = String::from_utf8_lossy(&read(peer, "cgroup")?).into_owned();
    let cgroup = cgroup::path(&groups).map(str::to_owned);
    let container_id = cgroup.as_deref().and_then(cgroup::container_id).map(str::to_owned);
    // 5.
    if sight(peer)? != sighted {
        return Err(AttestError::Changed { what: "its start or its executable" });
    }
    // 6.
    hold.check(peer.pid)?;
    Ok(Process {
        pid: peer.pid,
        started_ticks: sighted.started_ticks,
        uid: peer.uid,
        gid: peer.gid,
        exe,
        exe_sha256,
        command_line,
        command_line_cut,
        cgroup,
        container_id,
    })
}

/// SHA-256 of a file that stands as it was sighted, before it is read and after. The kernel refuses writes to what runs
/// on most filesystems, not on all (proc_pid_exe, `ETXTBSY`): without this, a digest could be of no file that ever was.
fn steady_digest(file: &File, content: impl Read, sighted: FileState) -> Result<Digest, AttestError> {
    let steady = || match FileState::of(file)? == sighted {
        true => Ok(()),
        false => Err(AttestError::Changed { what: "its executable" }),
    };
    steady()?;
    let digest = digest(content, EXECUTABLE_BYTES_MAX)?;
    steady()?;
    Ok(digest)
}

/// SHA-256 of a file, read to its end.
fn digest(mut file: impl Read, bytes_max: u64) -> Result<Digest, AttestError> {
    let mut parts = PartsDigest::default();
    let mut part = vec![0; PART_BYTES];
    let mut bytes = 0u64;
    loop {
        let read = match file.read(&mut part) {
            Ok(0) => return Ok(parts.finish()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => return Err(unreadable("executable", source)),
        };
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if bytes > bytes_max {
            return Err(AttestError::ExecutableTooLarge { bytes_max });
        }
        parts.take(part.get(..read).unwrap_or_default());
    }
}

fn executable(peer: Peer) -> Result<File, AttestError> {
    File::open(entry(peer, "exe")).map_err(|source| unreadable("executable", source))
}

/// When it began. A process that has ended and is not yet buried has no executable any more: it is gone.
fn started(peer: Peer) -> Result<u64, AttestError> {
    started_ticks(&read(peer, "stat")?).ok_or(AttestError::NotUnderstood { what: "the kernel's words on its start" })
}

/// Field 22. The command in brackets may hold anything, brackets and newlines too; what is behind the last one counts.
fn started_ticks(stat: &[u8]) -> Option<u64> {
    let behind = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
    std::str::from_utf8(behind).ok()?.split_ascii_whitespace().nth(START_FIELD)?.parse().ok()
}

/// The second number of `Uid:` (proc_pid_status(5)).
fn effective_user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
pub(crate) fn user_of_self() -> u32 {
    effective_user(&std::fs::read("/proc/self/status").unwrap()).unwrap()
}

/// Words that end in NUL; and whether there were more. As JSON they have at most [`COMMAND_LINE_BYTES_MAX`] bytes: a
/// control character takes six there.
fn command_line(bytes: &[u8]) -> (Vec<String>, bool) {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let (mut words, mut room) = (Vec::new(), COMMAND_LINE_BYTES_MAX - BRACKETS_BYTES);
    if bytes.is_empty() {
        return (words, false);
    }
    for word in bytes.split(|byte| *byte == 0) {
        let Some(left) = room.checked_sub(WORD_BYTES) else { return (words, true) };
        let word = String::from_utf8_lossy(word);
        let (kept, bytes) = prefix_in_json(&word, left);
        let cut = kept.len() < word.len();
        words.push(kept.to_owned());
        if cut {
            return (words, true);
        }
        room = left - bytes;
    }
    (words, false)
}

/// `[` and `]`, less the comma that the last word does not have.
const BRACKETS_BYTES: usize = 1;
/// A word's quotes and comma.
const WORD_BYTES: usize = 3;

/// As much of a word's beginning as has at most `bytes_max` bytes in a JSON string, and how many it has.
fn prefix_in_json(word: &str, bytes_max: usize) -> (&str, usize) {
    let mut bytes = 0;
    for (at, letter) in word.char_indices() {
        let letter = json_bytes(letter);
        if bytes + letter > bytes_max {
            return (&word[..at], bytes);
        }
        bytes += letter;
    }
    (word, bytes)
}

/// What a character takes in a JSON string (RFC 8259 §7).
fn json_bytes(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

fn read(peer: Peer, name: &'static str) -> Result<Vec<u8>, AttestError> {
    let limit = usize::try_from(PROC_FILE_BYTES_MAX).unwrap_or(usize::MAX);
    read_cut(peer, name, limit)
}

fn read_cut(peer: Peer, name: &'static str, bytes_max: usize) -> Result<Vec<u8>, AttestError> {
    let mut bytes = Vec::new();
    let read = File::open(entry(peer, name))
        .and_then(|file| file.take(u64::try_from(bytes_max).unwrap_or(u64::MAX)).read_to_end(&mut bytes));
    read.map_err(|source| unreadable(name, source))?;
    Ok(bytes)
}

fn entry(peer: Peer, name: &str) -> std::path::PathBuf {
    Path::new("/proc").join(peer.pid.to_string()).join(name)
}

/// `ESRCH`: what a read of a process's entry says that was opened in time.
const NO_SUCH_PROCESS: i32 = 3;

fn unreadable(what: &'static str, source: Error) -> AttestError {
    if source.kind() == ErrorKind::NotFound || source.raw_os_error() == Some(NO_SUCH_PROCESS) {
        return AttestError::Gone;
    }
    AttestError::Unreadable { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Peer {
        Peer { pid: std::process::id(), uid: user_of_self(), gid: 0 }
    }

    fn unheld() -> Hold {
        Hold::default()
    }

    #[test]
    fn sees_its_own_process() {
        let sighted = sight(own()).unwrap();
        let seen = look(own(), sighted, &unheld()).unwrap();
        let exe = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(seen.exe_sha256, marque_signing::sha256(&exe));
        assert_eq!(Path::new(&seen.exe), std::env::current_exe().unwrap());
        assert_eq!(seen.command_line, std::env::args().collect::<Vec<_>>());
        assert!(!seen.command_line_cut);
    }

    #[test]
    fn refuses_a_number_that_was_given_anew() {
        let sighted = sight(own()).unwrap();
        let earlier = Sighting { started_ticks: sighted.started_ticks - 1, ..sighted };
        assert!(matches!(look(own(), earlier, &unheld()), Err(AttestError::Gone)));
    }

    #[test]
    fn refuses_another_file_or_user_than_at_the_first_look() {
        let sighted = sight(own()).unwrap();
        let stood = sighted.executable;
        for executable in [
            FileState { inode: stood.inode + 1, ..stood },
            FileState { device: stood.device + 1, ..stood },
            FileState { bytes: stood.bytes + 1, ..stood },
            FileState { modified: (stood.modified.0, stood.modified.1 ^ 1), ..stood },
            FileState { changed: (stood.changed.0, stood.changed.1 ^ 1), ..stood },
        ] {
            let became = Sighting { executable, ..sighted };
            assert!(matches!(look(own(), became, &unheld()), Err(AttestError::Changed { what: "its executable" })));
        }
        let other = Peer { uid: own().uid.wrapping_add(1), ..own() };
        assert!(matches!(look(other, sighted, &unheld()), Err(AttestError::Changed { what: "its user" })));
    }

    #[test]
    fn refuses_a_process_that_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(matches!(sight(Peer { pid: child.id(), ..own() }), Err(AttestError::Gone)));
    }

    #[test]
    fn an_executable_has_its_limit() {
        assert_eq!(digest(&b"abc"[..], 3).unwrap(), marque_signing::sha256(b"abc"));
        assert!(matches!(digest(&b"abcd"[..], 3), Err(AttestError::ExecutableTooLarge { bytes_max: 3 })));
        assert!(matches!(digest(std::io::repeat(0), 1 << 20), Err(AttestError::ExecutableTooLarge { .. })));
    }

    #[test]
    fn a_command_s_name_can_t_pose_as_fields() {
        let fields = |name: &str| {
            format!("42 ({name}) S {} 777 9", (4..22).map(|n| n.to_string()).collect::<Vec<_>>().join(" "))
        };
        for name in ["sh", "a b", ") S 1 1 1 1", "((", "a\nb)"] {
            assert_eq!(started_ticks(fields(name).as_bytes()), Some(777), "{name}");
        }
        assert_eq!(started_ticks(b"42 sh S 1"), None);
        assert_eq!(started_ticks(b""), None);
    }

    /// Reads a file, and after the first part has somebody write to it.
    struct Meddled<'f, F: FnMut()> {
        file: &'f File,
        meddle: Option<F>,
    }

    impl<F: FnMut()> Read for Meddled<'_, F> {
        fn read(&mut self, part: &mut [u8]) -> std::io::Result<usize> {
            let read = self.file.read(part)?;
            if let Some(mut meddle) = self.meddle.take() {
                meddle();
            }
            Ok(read)
        }
    }

    #[test]
    fn refuses_an_executable_that_changes_while_it_is_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exe");
        let hashed = |meddle: &mut dyn FnMut()| {
            std::fs::write(&path, vec![7; 2 * PART_BYTES]).unwrap();
            let file = File::open(&path).unwrap();
            let sighted = FileState::of(&file).unwrap();
            steady_digest(&file, Meddled { file: &file, meddle: Some(meddle) }, sighted)
        };
        let write_last = || {
            let writer = File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&writer, b"x", 2 * PART_BYTES as u64 - 1).unwrap();
            writer
        };
        assert_eq!(hashed(&mut || {}).unwrap(), marque_signing::sha256(&vec![7; 2 * PART_BYTES]));
        let longer = hashed(&mut || {
            std::io::Write::write_all(&mut File::options().append(true).open(&path).unwrap(), b"x").unwrap();
        });
        assert!(matches!(longer, Err(AttestError::Changed { what: "its executable" })), "{longer:?}");
        // The same size, and the owner sets the time of its modification back; that of the change tells.
        let touched_up = hashed(&mut || {
            let before = FileState::of(&File::open(&path).unwrap()).unwrap();
            let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
            while FileState::of(&File::open(&path).unwrap()).unwrap().changed == before.changed {
                write_last().set_modified(modified).unwrap();
            }
            assert_eq!(FileState::of(&File::open(&path).unwrap()).unwrap().modified, before.modified);
        });
        assert!(matches!(touched_up, Err(AttestError::Changed { what: "its executable" })), "{touched_up:?}");
    }

    fn in_json(words: &[String]) -> usize {
        serde_json::to_string(words).unwrap().len()
    }

    #[test]
    fn a_command_line_is_cut_and_told_of() {
        assert_eq!(command_line(b"a\0\0b c\0"), (vec!["a".into(), String::new(), "b c".into()], false));
        assert_eq!(command_line(b""), (vec![], false));
        let word = |bytes: usize| command_line(&vec![b'x'; bytes]);
        let fits = COMMAND_LINE_BYTES_MAX - r#"[""]"#.len();
        let (words, cut) = word(fits);
        assert!(in_json(&words) == COMMAND_LINE_BYTES_MAX && !cut);
        let (words, cut) = word(fits + 1);
        assert!(in_json(&words) == COMMAND_LINE_BYTES_MAX && cut);
    }

    #[test]
    fn a_command_line_is_measured_as_json() {
        // Escapes, words of nothing, and bytes that are no UTF-8: all grow.
        for hostile in [&[1][..], b"\"", b"\n", &[0], &[0xff], "\u{1f}é\0".as_bytes()] {
            let (words, cut) = command_line(&hostile.repeat(COMMAND_LINE_BYTES_MAX));
            let bytes = in_json(&words);
            assert!(cut && bytes <= COMMAND_LINE_BYTES_MAX, "{hostile:?}: {bytes}");
            assert!(bytes > COMMAND_LINE_BYTES_MAX - 6 - WORD_BYTES, "{hostile:?}: {bytes}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = (started_ticks(&bytes), effective_user(&bytes));
            let (words, cut) = command_line(&bytes);
            prop_assert!(!cut && in_json(&words) <= COMMAND_LINE_BYTES_MAX);
        }
    }
}
