//! The methods in a descriptor set, as `protoc --descriptor_set_out` and `buf build` write it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use countersign::authorization::Methods;

use crate::output::Failure;

const MAX_BYTES: u64 = Methods::MAX_BYTES as u64;

/// What a file describes.
pub(super) fn methods(path: &Path) -> Result<Methods, Failure> {
    Methods::from_descriptor_set(&bytes(path)?).map_err(|error| {
        Failure::config(format!("cannot read a descriptor set in `{}`", path.display()))
            .because(&error)
            .hint("protoc --include_imports --descriptor_set_out=api.binpb *.proto")
    })
}

/// As it is.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .and_then(|length| match u64::try_from(length) {
            Ok(length) if length <= MAX_BYTES => Ok(bytes),
            _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 64 MiB")),
        })
        .map_err(|error| {
            Failure::config(format!("cannot read the file `{}`", path.display())).because(&error)
        })
}
