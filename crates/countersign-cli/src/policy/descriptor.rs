//! The methods in a descriptor set, as `protoc --descriptor_set_out` and `buf build` write it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::output::Failure;

/// More than the largest interface, by far.
const MAX_BYTES: u64 = 64 << 20;

/// Every method's path, in order.
pub(super) fn methods(path: &Path) -> Result<Vec<String>, Failure> {
    let cannot = |what: &str| Failure::config(format!("cannot read {what} `{}`", path.display()));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .and_then(|length| match u64::try_from(length) {
            Ok(length) if length <= MAX_BYTES => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 64 MiB")),
        })
        .map_err(|error| cannot("the file").because(&error))?;
    let set = FileDescriptorSet::decode(&*bytes).map_err(|error| {
        cannot("a descriptor set in")
            .because(&error)
            .hint("protoc --include_imports --descriptor_set_out=api.binpb *.proto")
    })?;
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let package = file.package();
            let dot = if package.is_empty() { "" } else { "." };
            let service_name = format!("{package}{dot}{}", service.name());
            for method in &service.method {
                methods.push(format!("/{service_name}/{}", method.name()));
            }
        }
    }
    methods.sort_unstable();
    methods.dedup();
    if methods.is_empty() {
        let failure = Failure::config(format!("`{}` has no method", path.display()));
        return Err(failure.cause("it describes no service"));
    }
    Ok(methods)
}
