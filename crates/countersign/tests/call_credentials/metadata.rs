use countersign::credentials::CallMetadata;
use countersign::{
    ApiKey, BearerToken, CallError, ChannelCredentials, ClientRequestExt, connect_lazy,
};
use countersign_testkit::greeter::proto::HelloRequest;
use tonic::{Code, Request};

use super::{BOTH_WAYS, Fake, Given, Stage, TOKEN, Way, greet, hello};

#[tokio::test]
async fn text_and_binary_metadata_arrive_as_they_were_given() {
    // CC-01 (channel), CC-02 (call), CC-09: keys are lower case on the wire.
    let stage = Stage::new().await;
    for way in BOTH_WAYS {
        let credentials = Fake::new(|_, _, metadata| {
            metadata.insert("Test-Key", "test value")?;
            Ok(metadata.insert_bin("Test-Key2-Bin", &[1, 2, 3])?)
        });
        stage.call(way, credentials).await.expect("sent");
        assert_eq!(stage.reached.last_values("test-key"), ["test value"], "{way:?}");
        let request = stage.reached.last_request();
        let binary = request.metadata().get_bin("test-key2-bin").expect("binary");
        assert_eq!(binary.to_bytes().expect("base64").as_ref(), [1, 2, 3], "{way:?}");
    }
    greet(&stage.channel(stage.tls()).await, hello()).await.expect("sent");
    assert_eq!(stage.reached.last_values("test-key"), [""; 0], "and not without credentials");
}

#[tokio::test]
async fn credentials_of_a_call_replace_those_of_the_channel() {
    // CC-03; grpc-go sends both.
    let stage = Stage::new().await;
    let channels = Fake::sending("authorization", "Bearer of-the-channel");
    let calls = Fake::sending("authorization", "Bearer of-the-call");
    let channel = stage.channel(stage.tls().with_call_credentials(channels.clone())).await;
    greet(&channel, hello().call_credentials(calls.clone())).await.expect("sent");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer of-the-call"]);
    assert_eq!((channels.asked(), calls.asked()), (0, 1));
    greet(&channel, hello()).await.expect("sent");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer of-the-channel"]);
    assert_eq!((channels.asked(), calls.asked()), (1, 1));
}

#[tokio::test]
async fn a_second_pair_of_channel_credentials_replaces_the_first() {
    let stage = Stage::new().await;
    let (first, second) = (Fake::sending("first", "1"), Fake::sending("second", "2"));
    let both = stage.tls().with_call_credentials(first.clone()).with_call_credentials(second);
    greet(&stage.channel(both).await, hello()).await.expect("sent");
    assert_eq!(first.asked(), 0);
    assert_eq!(stage.reached.last_values("second"), ["2"]);
}

#[tokio::test]
async fn credentials_that_are_exchanged_in_a_living_channel_count_from_the_next_call() {
    let stage = Stage::new().await;
    let with = |value| stage.tls().with_call_credentials(Fake::sending("authorization", value));
    let channel = stage.channel(with("Bearer old")).await;
    for value in ["Bearer old", "Bearer new", "Bearer newer"] {
        channel.replace_credentials(with(value)).expect("they fit the target");
        greet(&channel, hello()).await.expect("sent");
        assert_eq!(stage.reached.last_values("authorization"), [value]);
    }
}

#[tokio::test]
async fn metadata_that_may_not_be_sent_fails_the_call_and_names_its_key() {
    // CC-04, CC-11: reserved keys are refused, where grpc-go lets credentials write them.
    let stage = Stage::new().await;
    type Insert = fn(&mut CallMetadata) -> Given;
    let rows: [(&str, Insert); 15] = [
        ("bad key", |it| Ok(it.insert("bad key", "value")?)),
        ("key", |it| Ok(it.insert("key", "a\u{1}b")?)),
        ("key", |it| Ok(it.insert("key", "a\r\nb: c")?)),
        ("key", |it| Ok(it.insert("key", "ä")?)),
        ("key-bin", |it| Ok(it.insert("key-bin", "value")?)),
        ("key", |it| Ok(it.insert_bin("key", &[1])?)),
        (":path", |it| Ok(it.insert(":path", "/other.Service/Method")?)),
        (":authority", |it| Ok(it.insert(":authority", "other")?)),
        ("content-type", |it| Ok(it.insert("content-type", "text/html")?)),
        ("Content-Type", |it| Ok(it.insert("Content-Type", "text/html")?)),
        ("te", |it| Ok(it.insert("te", "gzip")?)),
        ("host", |it| Ok(it.insert("host", "other")?)),
        ("user-agent", |it| Ok(it.insert("user-agent", "other")?)),
        ("grpc-timeout", |it| Ok(it.insert("grpc-timeout", "1H")?)),
        ("connection", |it| Ok(it.insert("connection", "close")?)),
    ];
    for (key, insert) in rows {
        for way in BOTH_WAYS {
            let credentials = Fake::new(move |_, _, metadata| insert(metadata));
            let status = stage.call(way, credentials).await.expect_err(key);
            assert_eq!(status.code(), Code::Internal, "{key}, {way:?}");
            assert!(status.message().contains(&format!("{key:?}")), "{key}: {status:?}");
        }
    }
    assert_eq!(stage.reached.count(), 0, "nothing of it left");
    let good = Fake::sending("good-key", "value");
    stage.call(Way::Call, good).await.expect("the next key is as good as any");
}

#[tokio::test]
async fn authorization_set_by_hand_and_credentials_together_are_refused() {
    let stage = Stage::new().await;
    let by_hand = || {
        let mut request = hello();
        request.metadata_mut().insert("authorization", "Bearer by-hand".parse().expect("ASCII"));
        request
    };
    let channel = stage.channel(stage.tls()).await;
    greet(&channel, by_hand()).await.expect("one is fine");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer by-hand"]);

    let token = || BearerToken::new(TOKEN).expect("a token");
    let with_token = stage.channel(stage.tls().with_call_credentials(token())).await;
    let mut twice = by_hand();
    twice.metadata_mut().append("authorization", "Bearer again".parse().expect("ASCII"));
    for (name, channel, request) in [
        ("the call's", &channel, by_hand().call_credentials(token())),
        ("the channel's", &with_token, by_hand()),
        ("two by hand", &channel, twice),
    ] {
        let status = greet(channel, request).await.expect_err(name);
        assert_eq!(status.code(), Code::Internal, "{name}");
        let error = CallError::of(&status).expect("ours");
        assert!(matches!(error, CallError::ManyAuthorizations { count: 2 }), "{name}: {error}");
    }
    assert_eq!(stage.reached.count(), 1);

    // Credentials that write something else go together with it.
    let key = ApiKey::new(TOKEN).expect("a key");
    greet(&channel, by_hand().call_credentials(key)).await.expect("two keys");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer by-hand"]);
    assert_eq!(stage.reached.last_values("x-api-key"), [TOKEN]);
}

#[tokio::test]
async fn credentials_add_nothing_to_what_the_request_has_already() {
    // grpc-go sends both values.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let with_key = |name| {
        let mut request = hello();
        request.metadata_mut().insert("x-api-key", "by-hand".parse().expect("ASCII"));
        let key = ApiKey::new(TOKEN).expect("a key").under(name).expect("a name");
        request.call_credentials(key)
    };
    let status = greet(&channel, with_key("x-api-key")).await.expect_err("two values");
    assert_eq!((status.code(), stage.reached.count()), (Code::Internal, 0));
    let Some(CallError::Metadata(error)) = CallError::of(&status) else { panic!("{status:?}") };
    assert_eq!(error.key(), "x-api-key");
    greet(&channel, with_key("x-other-key")).await.expect("two keys");
    assert_eq!(stage.reached.last_values("x-api-key"), ["by-hand"]);
}

#[tokio::test]
async fn credentials_are_never_put_into_hpacks_tables() {
    // "Never indexed" (RFC 7541 §6.2.3): the first byte says so, then comes the name, by its
    // number in the static table or as text. `x-api-key` is in Huffman's code.
    const AUTHORIZATION: &[u8] = &[0x1f, 23 - 15];
    const API_KEY: &[u8] = &[0x10, 0x87, 0xf2, 0xb0, 0xeb, 0x32, 0xdd, 0x4b, 0xeb];
    const API_KEY_INDEXED: &[u8] = &[0x40, 0x87, 0xf2, 0xb0, 0xeb, 0x32, 0xdd, 0x4b, 0xeb];

    let request = |key, value: &str| {
        let mut request = hello();
        request.metadata_mut().insert(key, value.parse().expect("ASCII"));
        request
    };
    let token = BearerToken::new(TOKEN).expect("a token");
    let key = ApiKey::new(TOKEN).expect("a key");
    let fake = Fake::sending("authorization", "Bearer x");
    for (name, request, expected) in [
        ("bearer token", hello().call_credentials(token), AUTHORIZATION),
        ("API key", hello().call_credentials(key), API_KEY),
        ("anybody's", hello().call_credentials(fake), AUTHORIZATION),
        ("by hand", request("authorization", "Bearer x"), AUTHORIZATION),
        ("other metadata is indexed", request("x-api-key", "no secret"), API_KEY_INDEXED),
    ] {
        let block = header_block(request).await;
        let found = block.windows(expected.len()).any(|window| window == expected);
        assert!(found, "{name}: {block:02x?}");
    }
}

/// The header block of one call, as it comes over a Unix socket.
async fn header_block(request: Request<HelloRequest>) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const HEADERS: u8 = 1;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("raw.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let target = format!("unix:{}", path.display());
    let channel = connect_lazy(target, ChannelCredentials::local()).expect("a channel");
    let calling = tokio::spawn(async move { greet(&channel, request).await });

    let (mut io, _) = listener.accept().await.expect("accepted");
    io.write_all(b"\0\0\0\x04\0\0\0\0\0").await.expect("SETTINGS");
    io.read_exact(&mut [0; 24]).await.expect("the preface");
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("small")];
        io.read_exact(&mut payload).await.expect("the whole frame");
        if head[3] == HEADERS {
            calling.abort();
            return payload;
        }
    }
}
