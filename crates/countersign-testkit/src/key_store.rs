//! What a store of API keys has to hold to, as one suite for all of them.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign::authentication::api_keys::{
    IssuedKey, KeyChange, KeyChanges, KeyId, KeyIssuer, KeyRecord, KeyStore, KeyStoreErrorKind,
    KeyUse, MemoryKeys, NewKey, Revocation,
};

use crate::clock::ManualClock;

/// How long a change may take from one handle to another. Real time; a good store takes a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any store lets pass before it looks for changes.
const A_LOOK: Duration = Duration::from_secs(3);

/// Puts a store through everything that is asked of one.
///
/// `open` opens the same store each time, as another process would; it is empty at first.
///
/// # Panics
///
/// When the store does something else. The message says what was expected.
pub async fn conforms<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn KeyStore>>,
{
    let store = open().await;
    assert_eq!(store.list(None, 10).await.expect("listed"), [], "it is empty at first");
    keeps_what_it_gets(&*store).await;
    refuses_what_was_changed_meanwhile(&*store).await;
    refuses_all_but_one_at_the_same_time(&open).await;
    lists_in_order(&*store).await;
    notes_uses_apart(&*store).await;
    shows_changes_to_others(&*store, &*open().await).await;
    tells_watchers(&store, &open().await).await;
}

/// A record with something in every field.
pub async fn full_record() -> KeyRecord {
    let new = NewKey::new("spiffe://prod.example/build")
        .tenant("acme")
        .scope("orders:read")
        .scope("orders:write")
        .method("/orders.v1.Orders/Get*")
        .network("10.0.0.0/8".parse().expect("a network"))
        .network("2001:db8::/32".parse().expect("a network"))
        .description("the nightly build, “Größe” 'quoted' \"twice\" \\ and %s")
        .created_by("alice")
        .not_before(minute(1));
    let mut record = issue(new).await.record().clone();
    record.rotated_from = Some("aaaaaaaaaa".parse().expect("an ID"));
    record.rotated_to = Some("bbbbbbbbbb".parse().expect("an ID"));
    record.revoked = Some(Revocation { at: minute(9), reason: "it leaked".to_owned() });
    record
}

/// A key that no store has yet.
pub async fn issue(new: NewKey) -> IssuedKey {
    let issuer = KeyIssuer::new(MemoryKeys::new()).with_clock(ManualClock::new(minute(0)));
    issuer.create(new).await.expect("a key")
}

fn minute(minutes: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 60 * minutes)
}

async fn plain() -> KeyRecord {
    issue(NewKey::new("ci").scope("orders:read").never_expires()).await.record().clone()
}

async fn keeps_what_it_gets(store: &dyn KeyStore) {
    for record in [plain().await, full_record().await] {
        assert_eq!(store.get(&record.id).await.expect("read"), None, "it was not there");
        store.insert(record.clone()).await.expect("inserted");
        let read = store.get(&record.id).await.expect("read");
        assert_eq!(read, Some(record.clone()), "it is read as it was written");

        let mut again = record.clone();
        again.owner = "mallory".to_owned();
        let error = store.insert(again).await.expect_err("an ID is taken once");
        assert_eq!(error.kind(), KeyStoreErrorKind::AlreadyExists);
        let read = store.get(&record.id).await.expect("read");
        assert_eq!(read, Some(record.clone()), "a refused insert changes nothing");

        let mut other_case = record.id.to_string();
        other_case.make_ascii_lowercase();
        if other_case != record.id.as_str() {
            let id = other_case.parse().expect("an ID");
            assert_eq!(store.get(&id).await.expect("read"), None, "IDs have a case");
        }
    }
    let mut versioned = plain().await;
    versioned.version = 7;
    store.insert(versioned.clone()).await.expect("inserted");
    let read = store.get(&versioned.id).await.expect("read").expect("there");
    assert_eq!(read.version, 1, "versions begin at 1");
}

async fn refuses_what_was_changed_meanwhile(store: &dyn KeyStore) {
    let record = plain().await;
    let error = store.update(record.clone()).await.expect_err("it is not there");
    assert_eq!(error.kind(), KeyStoreErrorKind::NotFound);
    store.insert(record.clone()).await.expect("inserted");

    let mut first = record.clone();
    first.description = "first".to_owned();
    assert_eq!(store.update(first.clone()).await.expect("updated"), 2, "the next version");
    let mut second = record.clone();
    second.description = "second".to_owned();
    let error = store.update(second).await.expect_err("somebody was faster");
    assert_eq!(error.kind(), KeyStoreErrorKind::Conflict);
    let read = store.get(&record.id).await.expect("read").expect("there");
    first.version = 2;
    assert_eq!(read, first, "a refused update changes nothing");
    assert_eq!(store.update(read).await.expect("updated"), 3, "what was read can be written");
}

async fn refuses_all_but_one_at_the_same_time<F, Fut>(open: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn KeyStore>>,
{
    let record = plain().await;
    open().await.insert(record.clone()).await.expect("inserted");
    let mut tasks = Vec::new();
    for number in 0..8 {
        let (store, mut record) = (open().await, record.clone());
        record.description = number.to_string();
        tasks.push(tokio::spawn(async move { store.update(record).await }));
    }
    let mut passed = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(version) => {
                assert_eq!(version, 2);
                passed += 1;
            }
            Err(error) => assert_eq!(error.kind(), KeyStoreErrorKind::Conflict, "{error:?}"),
        }
    }
    assert_eq!(passed, 1, "of several changes to one version one passes");
}

async fn lists_in_order(store: &dyn KeyStore) {
    for _ in 0..5 {
        store.insert(plain().await).await.expect("inserted");
    }
    let all = store.list(None, 1_000).await.expect("listed");
    assert!(all.windows(2).all(|two| two[0].id < two[1].id), "in the order of IDs, each once");
    assert!(all.len() >= 5);
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|record: &KeyRecord| record.id);
        let page = store.list(after, 2).await.expect("listed");
        assert!(page.len() <= 2, "no more than was asked for");
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages make up the whole");
    assert_eq!(store.list(None, 0).await.expect("listed"), []);
}

async fn notes_uses_apart(store: &dyn KeyStore) {
    let record = plain().await;
    let id = record.id;
    store.insert(record.clone()).await.expect("inserted");
    let unknown = "zzzzzzzzzz".parse().expect("an ID");
    let uses = [KeyUse { id, at: minute(5) }, KeyUse { id: unknown, at: minute(5) }];
    store.note_uses(&uses).await.expect("a use of nothing is no error");
    store.note_uses(&[]).await.expect("nothing to note");
    let read = store.get(&id).await.expect("read").expect("there");
    assert_eq!((read.last_used_at, read.version), (Some(minute(5)), 1), "no new version");
    assert_eq!(store.get(&unknown).await.expect("read"), None, "a use makes no key");

    store.note_uses(&[KeyUse { id, at: minute(3) }]).await.expect("noted");
    let read = store.get(&id).await.expect("read").expect("there");
    assert_eq!(read.last_used_at, Some(minute(5)), "an earlier use changes nothing");

    let mut changed = record;
    changed.last_used_at = Some(minute(99));
    store.update(changed).await.expect("a use is no conflict");
    let read = store.get(&id).await.expect("read").expect("there");
    assert_eq!(read.last_used_at, Some(minute(5)), "only uses change when it was used");
    let listed = store.list(None, 1_000).await.expect("listed");
    assert!(listed.contains(&read), "a list says the same");
}

async fn shows_changes_to_others(one: &dyn KeyStore, other: &dyn KeyStore) {
    let mut record = plain().await;
    assert_eq!(other.get(&record.id).await.expect("read"), None);
    one.insert(record.clone()).await.expect("inserted");
    sees(other, &record).await;
    record.revoked = Some(Revocation { at: minute(1), reason: "lost".to_owned() });
    record.version = one.update(record.clone()).await.expect("updated");
    sees(other, &record).await;
}

async fn sees(store: &dyn KeyStore, record: &KeyRecord) {
    let seen = async {
        while store.get(&record.id).await.expect("read").as_ref() != Some(record) {
            let pause = || std::thread::park_timeout(Duration::from_millis(10));
            tokio::task::spawn_blocking(pause).await.expect("a pause cannot fail");
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("another handle sees the change");
}

async fn tells_watchers(store: &Arc<dyn KeyStore>, other: &Arc<dyn KeyStore>) {
    let Some(mut own) = store.watch() else { return };
    let mut others = other.watch().expect("whoever opens it can watch");
    // Both are at work once they have told of a change.
    let mut marker = plain().await;
    store.insert(marker.clone()).await.expect("inserted");
    for changes in [&mut own, &mut others] {
        let told = async {
            loop {
                if tokio::time::timeout(A_LOOK, changes.next()).await.is_ok() {
                    break;
                }
                marker.version = store.update(marker.clone()).await.expect("updated");
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("a change is told");
    }

    let (inserted, mut updated, used) = (plain().await, plain().await, plain().await);
    for record in [&updated, &used] {
        store.insert(record.clone()).await.expect("inserted");
    }
    told_of(&mut *own, &[updated.id, used.id]).await;
    told_of(&mut *others, &[updated.id, used.id]).await;

    store.note_uses(&[KeyUse { id: used.id, at: minute(1) }]).await.expect("noted");
    updated.revoked = Some(Revocation { at: minute(1), reason: "lost".to_owned() });
    store.update(updated.clone()).await.expect("updated");
    store.insert(inserted.clone()).await.expect("inserted");
    for changes in [&mut own, &mut others] {
        let told = told_of(&mut **changes, &[updated.id, inserted.id]).await;
        assert!(!told.contains(&KeyChange::Key(used.id)), "a use is no change");
    }
    let read = other.get(&updated.id).await.expect("read").expect("there");
    assert!(read.revoked.is_some(), "what is told can be read");
}

/// Waits until all of these changes were told; everything that was.
async fn told_of(changes: &mut dyn KeyChanges, ids: &[KeyId]) -> HashSet<KeyChange> {
    let mut told = HashSet::new();
    let is_told = |told: &HashSet<KeyChange>| {
        let each = |id: &KeyId| told.contains(&KeyChange::Key(*id));
        told.contains(&KeyChange::Any) || ids.iter().all(each)
    };
    let all = async {
        while !is_told(&told) {
            told.insert(changes.next().await.expect("a store has no last change"));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("every change is told");
    told
}
