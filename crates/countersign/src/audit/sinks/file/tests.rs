use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;

/// Files in memory, on a disk with so much room.
#[derive(Clone, Default)]
struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The number of the file that stands under a name.
    names: HashMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
    room: Option<usize>,
    no_renames: bool,
    synced: usize,
}

struct MemoryFile {
    disk: Memory,
    number: usize,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn text(&self, name: &str) -> Option<String> {
        let state = self.lock();
        let number = *state.names.get(Path::new(name))?;
        Some(String::from_utf8(state.files[number].clone()).expect("text"))
    }

    fn lines(&self, name: &str) -> usize {
        self.text(name).map_or(0, |text| text.lines().count())
    }
}

impl Disk for Memory {
    fn open(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.lock();
        let next = state.files.len();
        let number = *state.names.entry(path.into()).or_insert(next);
        if number == next {
            state.files.push(Vec::new());
        }
        Ok(Box::new(MemoryFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.no_renames {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if let Some(number) = state.names.remove(from) {
            state.names.insert(to.into(), number);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().names.remove(path);
        Ok(())
    }
}

impl LogFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.lock();
        let fits = state.room.unwrap_or(usize::MAX).min(bytes.len());
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(room) = &mut state.room {
            *room -= fits;
        }
        state.files[self.number].extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.lock().synced += 1;
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.number].len() as u64)
    }

    fn begun(&self) -> Option<SystemTime> {
        None
    }

    fn ends_within_a_line(&self) -> io::Result<bool> {
        Ok(self.disk.lock().files[self.number].last().is_some_and(|last| *last != b'\n'))
    }

    fn is_at(&self, path: &Path) -> bool {
        self.disk.lock().names.get(path) == Some(&self.number)
    }
}

fn sink(disk: &Memory, change: impl FnOnce(&mut Settings)) -> FileSink {
    let mut settings =
        Settings { max_bytes: 1 << 20, max_age: None, keep: 2, mode: 0o600, fsync: Fsync::Never };
    change(&mut settings);
    FileSink::on("a".into(), settings, Box::new(disk.clone())).expect("a file")
}

fn line() -> String {
    serde_json::to_string(&AuditEvent::example()).expect("JSON") + "\n"
}

fn write(sink: &mut FileSink, times: usize) {
    for _ in 0..times {
        sink.write(&AuditEvent::example()).expect("buffered");
    }
}

#[test]
fn a_file_is_put_away_before_it_is_too_large_and_the_oldest_is_removed() {
    let disk = Memory::default();
    let two = 2 * line().len() as u64;
    let mut sink = sink(&disk, |settings| settings.max_bytes = two);
    for batch in [1, 4, 2, 2] {
        write(&mut sink, batch);
        sink.flush().expect("written");
    }
    assert_eq!(["a", "a.1", "a.2", "a.3"].map(|name| disk.lines(name)), [1, 2, 2, 0]);
    // One byte less, and each line needs a file of its own.
    let disk = Memory::default();
    let mut sink = self::sink(&disk, |settings| settings.max_bytes = two - 1);
    write(&mut sink, 3);
    sink.flush().expect("written");
    assert_eq!(["a", "a.1", "a.2"].map(|name| disk.lines(name)), [1, 1, 1]);
}

#[test]
fn a_file_is_put_away_when_it_is_old_by_the_events_clock() {
    let disk = Memory::default();
    let hour = Duration::from_secs(3600);
    let mut sink = sink(&disk, |settings| settings.max_age = Some(hour));
    let mut event = AuditEvent::example();
    for (name, later, expected) in [
        ("first", Duration::ZERO, [1, 0]),
        ("almost", hour - Duration::from_nanos(1), [2, 0]),
        ("an hour", hour, [1, 2]),
        ("the clock was set back", Duration::ZERO, [2, 2]),
    ] {
        event.time = AuditEvent::example().time + later;
        sink.write(&event).expect("buffered");
        sink.flush().expect("written");
        assert_eq!(["a", "a.1"].map(|name| disk.lines(name)), expected, "{name}");
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be() {
    let disk = Memory::default();
    let mut sink = sink(&disk, |settings| (settings.max_bytes, settings.keep) = (1, 0));
    write(&mut sink, 3);
    sink.flush().expect("written");
    assert_eq!(["a", "a.1"].map(|name| disk.lines(name)), [1, 0]);
}

#[test]
fn a_file_that_cannot_be_put_away_is_written_on() {
    let disk = Memory::default();
    disk.lock().no_renames = true;
    let mut sink = sink(&disk, |settings| settings.max_bytes = 1);
    write(&mut sink, 3);
    sink.flush().expect("written");
    assert_eq!(disk.lines("a"), 3);
}

#[test]
fn a_full_disk_costs_time_and_no_line() {
    let disk = Memory::default();
    let mut sink = sink(&disk, |_| {});
    disk.lock().room = Some(line().len() + 10);
    write(&mut sink, 3);
    for _ in 0..3 {
        let error = sink.flush().expect_err("no room");
        assert!(matches!(error, SinkError::Again(_)), "{error}");
    }
    disk.lock().room = None;
    sink.flush().expect("room");
    assert_eq!(disk.text("a"), Some(line().repeat(3)));
}

#[test]
fn a_line_that_did_not_fit_is_whole_in_the_file_that_takes_the_place() {
    let disk = Memory::default();
    let mut sink = sink(&disk, |_| {});
    disk.lock().room = Some(line().len() + 10);
    write(&mut sink, 2);
    sink.flush().expect_err("no room");
    disk.rename(Path::new("a"), Path::new("moved")).expect("moved");
    disk.lock().room = None;
    sink.flush().expect("room");
    assert_eq!(disk.text("a"), Some(line()));
    assert_eq!(disk.text("moved"), Some(line() + &line()[..10]));
}

#[test]
fn a_line_that_was_cut_off_is_closed() {
    let disk = Memory::default();
    disk.open(Path::new("a"), 0).and_then(|mut file| file.write(b"{\"half")).expect("written");
    let mut sink = sink(&disk, |_| {});
    write(&mut sink, 1);
    sink.flush().expect("written");
    assert_eq!(disk.text("a"), Some(format!("{{\"half\n{}", line())));
    // The twin: a whole line is left alone.
    let mut sink = self::sink(&disk, |_| {});
    write(&mut sink, 1);
    sink.flush().expect("written");
    assert_eq!(disk.text("a"), Some(format!("{{\"half\n{}{}", line(), line())));
}

#[test]
fn the_disk_is_asked_as_often_as_was_said() {
    for (name, fsync, flushed, closed) in [
        ("never", Fsync::Never, 0, 0),
        ("always", Fsync::Always, 3, 3),
        ("now and then", Fsync::Every(Duration::from_secs(3600)), 0, 1),
        ("all the time", Fsync::Every(Duration::ZERO), 3, 3),
    ] {
        let disk = Memory::default();
        let mut sink = sink(&disk, |settings| settings.fsync = fsync);
        for _ in 0..3 {
            write(&mut sink, 5);
            sink.flush().expect("written");
        }
        assert_eq!(disk.lock().synced, flushed, "{name}");
        assert_eq!(sink.flush_again_in().is_some(), flushed != closed, "{name}");
        sink.flush().expect("nothing to do");
        sink.close();
        assert_eq!(disk.lock().synced, closed, "{name}");
    }
}
