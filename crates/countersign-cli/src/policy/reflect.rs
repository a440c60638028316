//! The methods of a running server, as it tells them itself (gRPC server reflection).

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use countersign::authorization::Methods;
use countersign::{
    BearerToken, CallError, Channel, ChannelCredentials, ClientTls, ConnectError, ConnectStage,
    Identity, RootCertificates, connect,
};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::exit;
use crate::output::Failure;
use crate::pki::text::printable;

/// A server to ask.
#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// Ask this server for its methods, by gRPC reflection: https://host:port
    #[arg(long, value_name = "TARGET", conflicts_with = "descriptor")]
    reflect: Option<String>,

    /// The certificates that the server's has to come from [default: the system's]
    #[arg(long, value_name = "FILE", requires = "reflect")]
    ca: Option<PathBuf>,

    /// A client certificate
    #[arg(long, value_name = "FILE", requires_all = ["reflect", "key"])]
    cert: Option<PathBuf>,

    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// A file with a token to send
    #[arg(long, value_name = "FILE", requires = "reflect")]
    token_file: Option<PathBuf>,

    /// How long the server may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "reflect",
          value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// More than any server has; one that tells of more is not asked further.
const MAX_SERVICES: usize = 1000;
/// For one answer.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// For all answers together.
const MAX_ANSWERS_BYTES: usize = 64 << 20;

/// The two names of one protocol: the messages are the same.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Asks a server for its methods.
pub(super) fn methods(args: &ServerArgs) -> Result<Methods, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::config("cannot start a runtime").because(&error))?;
    let limit = Duration::from_secs(args.timeout);
    let asked = runtime.block_on(async { tokio::time::timeout(limit, ask(args)).await });
    asked.unwrap_or_else(|_| {
        Err(Failure::new(exit::NETWORK, "cannot ask the server for its methods")
            .cause(format!("it took longer than {} s", args.timeout)))
    })
}

async fn ask(args: &ServerArgs) -> Result<Methods, Failure> {
    let channel = dial(args).await?;
    let [v1, v1alpha] = PATHS.map(PathAndQuery::from_static);
    let list = || vec![MessageRequest::ListServices(String::new())];
    let (path, listed) = match exchange(&channel, &v1, list()).await {
        Err(status) if status.code() == Code::Unimplemented => {
            let listed = exchange(&channel, &v1alpha, list()).await;
            (v1alpha, listed.map_err(|status| refused(&status))?)
        }
        listed => (v1, listed.map_err(|status| refused(&status))?),
    };
    let services: HashSet<String> = listed.into_iter().filter_map(services).flatten().collect();
    if services.len() > MAX_SERVICES {
        return Err(odd(format!("it has more than {MAX_SERVICES} services")));
    }
    let wanted = services.iter().cloned().map(MessageRequest::FileContainingSymbol).collect();
    let answers = exchange(&channel, &path, wanted).await.map_err(|status| refused(&status))?;
    if answers.len() != services.len() {
        return Err(odd("it does not answer every question".to_owned()));
    }
    let (mut methods, mut known, mut bytes) = (Methods::default(), HashSet::new(), 0);
    for answer in answers {
        let files = match answer {
            MessageResponse::FileDescriptorResponse(files) => files.file_descriptor_proto,
            // A method that nobody lists would be one that nobody looks at.
            MessageResponse::ErrorResponse(error) => {
                return Err(odd(printable(&error.error_message)));
            }
            _ => return Err(odd("it answers another question".to_owned())),
        };
        for file in files {
            bytes += file.len();
            if bytes > Methods::MAX_BYTES {
                return Err(odd("its descriptors are longer than 64 MiB".to_owned()));
            }
            if !known.contains(&file) {
                methods.add_file(&file).map_err(|error| odd(error.to_string()))?;
                known.insert(file);
            }
        }
    }
    // Files have services too that the server does not.
    methods.retain(|path| {
        let service = path.trim_start_matches('/').split('/').next();
        service.is_some_and(|service| services.contains(service))
    });
    match methods.is_empty() {
        true => Err(odd("it lists no method".to_owned())),
        false => Ok(methods),
    }
}

async fn dial(args: &ServerArgs) -> Result<Channel, Failure> {
    let target = args.reflect.as_deref().unwrap_or_default();
    if target.starts_with("http://") {
        if args.token_file.is_some() || args.cert.is_some() || args.ca.is_some() {
            return Err(Failure::usage("nothing is proven over a connection without TLS")
                .hint("write https://host:port, or leave certificates and token out"));
        }
        let dialled = connect(target, ChannelCredentials::insecure()).await;
        return dialled.map_err(|error| unreachable(&error));
    }
    let mut tls = match &args.ca {
        Some(ca) => ClientTls::only_roots(RootCertificates::from_pem_file(ca)),
        None => ClientTls::system_roots(),
    };
    if let (Some(certificate), Some(key)) = (&args.cert, &args.key) {
        tls = tls.identity(Identity::from_pem_files(certificate, key));
    }
    let credentials = ChannelCredentials::tls(tls);
    let dialled = match &args.token_file {
        None => connect(target, credentials).await,
        Some(path) => {
            let token = BearerToken::from_file(path);
            connect(target, credentials.with_call_credentials(token)).await
        }
    };
    dialled.map_err(|error| unreachable(&error))
}

/// Asks all, and gives the answers.
async fn exchange(
    channel: &Channel,
    path: &PathAndQuery,
    questions: Vec<MessageRequest>,
) -> Result<Vec<MessageResponse>, Status> {
    let most = questions.len();
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let requests: Vec<_> = questions.into_iter().map(ask).collect();
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
    let request = Request::new(tokio_stream::iter(requests));
    let mut answers = grpc.streaming(request, path.clone(), codec).await?.into_inner();
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(answer) = answers.message().await? {
        if all.len() == most {
            return Err(Status::out_of_range("it answers more often than it is asked"));
        }
        // Each answer alone may be large, and all of them are kept.
        bytes += answer.encoded_len();
        if bytes > MAX_ANSWERS_BYTES {
            return Err(Status::out_of_range("its answers are longer than 64 MiB"));
        }
        all.extend(answer.message_response);
    }
    Ok(all)
}

fn services(answer: MessageResponse) -> Option<Vec<String>> {
    match answer {
        MessageResponse::ListServicesResponse(list) => {
            Some(list.service.into_iter().map(|service| service.name).collect())
        }
        _ => None,
    }
}

fn odd(cause: String) -> Failure {
    Failure::new(exit::NETWORK, "the server does not tell its methods").cause(cause)
}

fn refused(status: &Status) -> Failure {
    if let Some(error) = CallError::of(status).and_then(CallError::connect_error) {
        return unreachable(error);
    }
    let (code, hint) = match status.code() {
        Code::Unimplemented => (exit::NETWORK, "serve reflection, or use --descriptor"),
        Code::Unauthenticated | Code::PermissionDenied => {
            (exit::AUTHENTICATION, "give --token-file, or --cert and --key")
        }
        _ => (exit::NETWORK, "use --descriptor"),
    };
    Failure::new(code, "the server does not tell its methods")
        .cause(format!("{:?}: {}", status.code(), printable(status.message())))
        .hint(hint)
}

fn unreachable(error: &ConnectError) -> Failure {
    let code = match error.stage() {
        ConnectStage::Configure => exit::CONFIG,
        ConnectStage::Tls => exit::TLS,
        _ => exit::NETWORK,
    };
    Failure::new(code, "cannot connect to the server").cause(error.sentence()).hint(error.help())
}
