use countersign::SecurityLevel::{IntegrityOnly, NoSecurity, PrivacyAndIntegrity};
use countersign::identity::PeerAddress;
use countersign::{
    ApiKey, BearerToken, CallError, ChannelCredentials, ClientRequestExt, ConnectError,
    ConnectErrorKind, ConnectStage, Gate, Rules, ServerCredentials, ServerRequestExt, StaticTokens,
    connect, connect_lazy,
};
use countersign_testkit::greeter::Greeter;
use countersign_testkit::wait::until;
use tonic::Code;
use tonic::service::Routes;
use tower_layer::Layer;

use super::support::{Reached, collect_logs, greeter, serve};
use super::{Fake, Stage, TOKEN, Way, greet, hello, is_insecure, local, plaintext};

#[tokio::test]
async fn credentials_travel_over_connections_that_protect_them_and_are_not_asked_over_others() {
    // SL-01 to SL-04 with the levels that connections have; a level that is not known is
    // `NoSecurity`, which grpc-go lets pass.
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (_unix, _, unix) = local(folder.path());
    let (tcp, _) = plaintext(ServerCredentials::local(), "127.0.0.1:0").await;
    let (plain, _) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let channels = [
        ("tls", stage.channel(stage.tls()).await, PrivacyAndIntegrity),
        (
            "unix",
            connect(unix, ChannelCredentials::local()).await.expect("connected"),
            PrivacyAndIntegrity,
        ),
        (
            "loopback",
            connect(tcp.address().to_string(), ChannelCredentials::local())
                .await
                .expect("connected"),
            NoSecurity,
        ),
        (
            "insecure",
            connect(plain.http("127.0.0.1"), ChannelCredentials::insecure())
                .await
                .expect("connected"),
            NoSecurity,
        ),
    ];
    for (name, channel, have) in channels {
        for need in [NoSecurity, IntegrityOnly, PrivacyAndIntegrity] {
            let credentials = Fake::sending("authorization", "Bearer x").needing(need);
            let outcome = greet(&channel, hello().call_credentials(credentials.clone())).await;
            if have >= need {
                outcome.unwrap_or_else(|status| panic!("{name}, {need}: {status}"));
                assert_eq!(credentials.asked(), 1, "{name}, {need}");
                continue;
            }
            let status = outcome.expect_err("too little protection");
            assert_eq!(status.code(), Code::Unauthenticated, "{name}, {need}");
            assert_eq!(credentials.asked(), 0, "{name}, {need}");
            let Some(CallError::Insecure { have: had, need: needed, .. }) = CallError::of(&status)
            else {
                panic!("{name}, {need}: {status:?}")
            };
            assert_eq!((*had, *needed), (have, need), "{name}, {need}");
        }
    }
}

#[tokio::test]
async fn a_bearer_token_and_an_api_key_never_leave_over_plaintext() {
    // JW-03, JW-05.
    let (tcp, local_reached) = plaintext(ServerCredentials::local(), "127.0.0.1:0").await;
    let (plain, plain_reached) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let token = || BearerToken::new(TOKEN).expect("a token");
    // Was it read, the call would fail with `UNAVAILABLE`.
    let file = || BearerToken::from_file("no/such/file");
    let key = || ApiKey::new(TOKEN).expect("a key");

    let insecure =
        connect(plain.http("127.0.0.1"), ChannelCredentials::insecure()).await.expect("connected");
    let loopback = |credentials: ChannelCredentials<_>| {
        let target = tcp.address().to_string();
        async move { connect(target, credentials).await.expect("connected") }
    };
    let local = ChannelCredentials::local;
    for (name, channel, request) in [
        ("token, insecure, call", insecure.clone(), hello().call_credentials(token())),
        ("file, insecure, call", insecure.clone(), hello().call_credentials(file())),
        ("key, insecure, call", insecure.clone(), hello().call_credentials(key())),
        ("token, loopback, call", loopback(local()).await, hello().call_credentials(token())),
        (
            "token, loopback, channel",
            loopback(local().with_call_credentials(token())).await,
            hello(),
        ),
        ("file, loopback, channel", loopback(local().with_call_credentials(file())).await, hello()),
        ("key, loopback, channel", loopback(local().with_call_credentials(key())).await, hello()),
    ] {
        let status = greet(&channel, request).await.expect_err(name);
        assert_eq!(status.code(), Code::Unauthenticated, "{name}");
        assert!(is_insecure(&status), "{name}: {status:?}");
        let sentence = "cannot send secure credentials on an insecure connection";
        assert!(status.message().contains(sentence), "{name}: {}", status.message());
    }
    assert_eq!((local_reached.count(), plain_reached.count()), (0, 0));
    greet(&insecure, hello()).await.expect("without credentials it is only a call");
}

#[tokio::test]
async fn tls_with_credentials_cannot_be_pointed_at_a_plaintext_target() {
    // JW-04: an error before anything is sent. For insecure credentials it does not compile.
    let stage = Stage::new().await;
    let with_token = || stage.tls().with_call_credentials(Fake::sending("authorization", "x"));
    let error = connect_lazy("http://localhost:1", with_token()).expect_err("refused");
    assert_eq!(error.kind(), ConnectErrorKind::SchemeMismatch);
    connect_lazy("https://localhost:1", with_token()).expect("a channel");
}

#[tokio::test]
async fn tls_alone_both_and_credentials_alone_work() {
    // CC-12.
    let stage = Stage::new().await;
    let fake = || Fake::sending("authorization", "Bearer x");
    greet(&stage.channel(stage.tls()).await, hello()).await.expect("TLS alone");
    assert_eq!(stage.reached.last_values("authorization"), [""; 0]);
    stage.call(Way::Channel, fake()).await.expect("both");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer x"]);

    // IN-01: only what needs no protection, and only by the call.
    let (plain, reached) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let channel = connect(plain.http("127.0.0.1"), ChannelCredentials::insecure());
    let channel = channel.await.expect("connected");
    let harmless = fake().needing(NoSecurity);
    greet(&channel, hello().call_credentials(harmless)).await.expect("credentials alone");
    assert_eq!(reached.last_values("authorization"), ["Bearer x"]);
    let request = reached.last_request();
    assert_eq!(request.peer_identity().expect("ours").security_level(), NoSecurity);
    let status = greet(&channel, hello().call_credentials(fake())).await.expect_err("the twin");
    assert!(is_insecure(&status), "{status:?}");
    assert_eq!(reached.count(), 1);
}

#[tokio::test]
async fn a_loopback_address_is_local_and_protects_nothing() {
    // LO-01.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let reached = Reached::default();
        let bound = ServerCredentials::local().bind(address).await;
        let incoming = match bound {
            Ok(incoming) => incoming,
            // A machine may be without IPv6, and not without IPv4.
            Err(_) if address.starts_with('[') => continue,
            Err(error) => panic!("{address}: {error}"),
        };
        let server = serve(incoming, greeter(&reached));
        let port = server.address().port();
        let mut targets = vec![server.address().to_string()];
        if address.starts_with("127") {
            targets.extend([format!("localhost:{port}"), format!("dns:///localhost:{port}")]);
        }
        for target in targets {
            let channel = connect(target.clone(), ChannelCredentials::local()).await;
            let channel = channel.unwrap_or_else(|error| panic!("{target}: {error}"));
            let credentials = Fake::new(|_, security, metadata| {
                let level = security.security_level();
                Ok(metadata
                    .insert("as-seen", &format!("{} {level}", security.security_protocol()))?)
            });
            let credentials = credentials.needing(NoSecurity);
            greet(&channel, hello().call_credentials(credentials)).await.expect(&target);
            assert_eq!(reached.last_values("as-seen"), ["local NoSecurity"], "{target}");
            let peer = reached.last_request().peer_identity().expect("ours").clone();
            assert_eq!(peer.security_level(), NoSecurity, "{target}");
            assert!(matches!(peer.address(), PeerAddress::Tcp(_)), "{peer:?}");
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_local_and_carries_tokens() {
    // LO-02, AZ-27: grpc-go's gate fails over Unix sockets.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("greeter.sock");
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("ci", TOKEN))
        .authorize(Rules::new().authenticated("*"))
        .build()
        .expect("a gate");
    let reached = Reached::default();
    let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
    let _server = serve(incoming, gate.layer(reached.layer(Routes::new(Greeter.service()))));
    for target in [format!("unix:{}", path.display()), format!("unix://{}", path.display())] {
        let token = BearerToken::new(TOKEN).expect("a token");
        let credentials = ChannelCredentials::local().with_call_credentials(token);
        let channel = connect(target, credentials).await.expect("connected");
        greet(&channel, hello()).await.expect("let in");
        let request = reached.last_request();
        assert_eq!(request.principal().expect("known").name(), "ci");
        let peer = request.peer_identity().expect("ours");
        assert_eq!(peer.security_level(), PrivacyAndIntegrity);
        let PeerAddress::Unix(process) = peer.address() else { panic!("{peer:?}") };
        assert!(process.uid.is_some() && process.pid.is_some(), "{process:?}");

        let bad = BearerToken::new("correct-horse-battery-stable").expect("a token");
        let status = greet(&channel, hello().call_credentials(bad)).await.expect_err("another");
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(CallError::of(&status).is_none(), "it is the server that says so");
    }
}

#[tokio::test]
async fn local_credentials_go_to_no_other_machine() {
    // LO-03, client side: nothing is dialled.
    for target in ["192.168.0.1:1", "ipv4:192.168.0.1:1", "ipv6:[2001:db8::1]:1"] {
        let error = connect(target, ChannelCredentials::local()).await.expect_err(target);
        assert_eq!(error.kind(), ConnectErrorKind::NotLocal, "{target}");
        assert_eq!(error.stage(), ConnectStage::Dial);
        assert!(error.to_string().contains("not on this machine"), "{error}");
    }
    let token = Fake::sending("authorization", "Bearer x");
    let credentials = ChannelCredentials::local().with_call_credentials(token.clone());
    let channel = connect_lazy("192.168.0.1:1", credentials).expect("a channel");
    let status = greet(&channel, hello()).await.expect_err("not local");
    assert_eq!((status.code(), token.asked()), (Code::Unavailable, 0));
    let error = ConnectError::of(&status).expect("a connection error");
    assert_eq!(error.kind(), ConnectErrorKind::NotLocal);
}

#[tokio::test]
async fn local_server_credentials_let_in_nobody_from_another_address() {
    // LO-03, server side. From this machine's own outer address, if it has one: such a connection
    // does not leave the machine, and is not from a loopback address either.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let outer = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let Ok(outer) = outer.map(|address| address.ip()) else { return };
    if outer.is_loopback() {
        return;
    }
    let logs = collect_logs();
    let (server, reached) = plaintext(ServerCredentials::local(), "0.0.0.0:0").await;
    let port = server.address().port();
    let insecure = ChannelCredentials::insecure;
    let channel = connect_lazy(format!("http://{outer}:{port}"), insecure()).expect("a channel");
    let status = greet(&channel, hello()).await.expect_err("not local");
    assert_eq!((status.code(), reached.count()), (Code::Unavailable, 0));
    until("the operator is told", || !logs.lines_with("NOT_LOCAL").is_empty()).await;

    let channel = connect(format!("http://127.0.0.1:{port}"), insecure()).await;
    greet(&channel.expect("connected"), hello()).await.expect("let in");
}
