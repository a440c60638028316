//! The methods of an interface, as a descriptor set lists them.

use std::collections::BTreeMap;

use super::wire::{Malformed, Message, text};
use crate::identity::MethodPath;

/// The methods of one or more interfaces.
///
/// Read from the descriptor sets that `protoc --descriptor_set_out`, `buf build -o` and
/// `tonic_prost_build`'s `file_descriptor_set_path` write, and that gRPC server reflection sends
/// file by file. In paths' order; each method once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    methods: BTreeMap<String, Option<Vec<u8>>>,
}

/// Why bytes are no descriptor set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDescriptorSet {
    /// They are longer than [`Methods::MAX_BYTES`].
    #[error("a descriptor set is longer than 64 MiB")]
    TooLong,
    /// They are not protobuf, or not of this kind.
    #[error("the bytes are not a descriptor set")]
    Malformed,
    /// A name is none that gRPC could call.
    #[error("a descriptor set has the method {path:?}, and no call can name that")]
    Path {
        /// The path.
        path: String,
    },
    /// There is nothing in it to decide about.
    #[error("a descriptor set describes no method")]
    Empty,
}

impl Methods {
    /// The longest descriptor set that is read, in bytes.
    pub const MAX_BYTES: usize = 64 << 20;

    /// Reads a `google.protobuf.FileDescriptorSet`.
    ///
    /// Imported files count too where the set has them (`--include_imports`). A service that
    /// only comes along in that way needs a rule in a strict gate as any other; one that denies
    /// is one.
    ///
    /// ```no_run
    /// # const FILE_DESCRIPTOR_SET: &[u8] = &[];
    /// use countersign::authorization::Methods;
    ///
    /// // tonic::include_file_descriptor_set!("orders_descriptor")
    /// let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET)?;
    /// # Ok::<(), countersign::authorization::InvalidDescriptorSet>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The bytes are no descriptor set, or one without any method.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self, InvalidDescriptorSet> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(InvalidDescriptorSet::TooLong);
        }
        let mut files = Vec::new();
        let read = Message::each(bytes, |number, file| {
            if number == SET_FILE {
                files.push(file);
            }
            Ok(())
        });
        read.map_err(|Malformed| InvalidDescriptorSet::Malformed)?;
        let mut all = Self::default();
        for file in files {
            all.add_file(file)?;
        }
        if all.is_empty() { Err(InvalidDescriptorSet::Empty) } else { Ok(all) }
    }

    /// Adds the services of one `google.protobuf.FileDescriptorProto`, as server reflection
    /// sends them. One without services adds nothing.
    ///
    /// # Errors
    ///
    /// The bytes are no file descriptor.
    pub fn add_file(&mut self, bytes: &[u8]) -> Result<(), InvalidDescriptorSet> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(InvalidDescriptorSet::TooLong);
        }
        let mut found = Vec::new();
        read_file(bytes, &mut found).map_err(|Malformed| InvalidDescriptorSet::Malformed)?;
        for (path, option) in found {
            if MethodPath::parse(&path).is_err() {
                return Err(InvalidDescriptorSet::Path { path });
            }
            self.methods.insert(path, option);
        }
        Ok(())
    }

    /// Adds those of another interface. What it says of a method that is known counts.
    pub fn merge(&mut self, others: Self) {
        self.methods.extend(others.methods);
    }

    /// Keeps those whose paths are wanted.
    pub fn retain(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.methods.retain(|path, _| wanted(path));
    }

    /// Their paths, in order: `/package.Service/Method`.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.methods.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// Those for which there is an option of ours: the method's own or its service's, all parts
    /// of it one after another.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.methods.iter().filter_map(|(path, option)| Some((path.as_str(), option.as_deref()?)))
    }
}

/// The number of our own option, of methods and of services (`proto/countersign/policy.proto`).
/// In the range that protobuf leaves to everybody's own use.
pub(super) const OPTION: u32 = 60443;

// Numbers of google/protobuf/descriptor.proto.
const SET_FILE: u32 = 1;
const FILE_PACKAGE: u32 = 2;
const FILE_SERVICE: u32 = 6;
const SERVICE_NAME: u32 = 1;
const SERVICE_METHOD: u32 = 2;
const SERVICE_OPTIONS: u32 = 3;
const METHOD_NAME: u32 = 1;
const METHOD_OPTIONS: u32 = 4;

type Found = Vec<(String, Option<Vec<u8>>)>;

fn read_file(bytes: &[u8], found: &mut Found) -> Result<(), Malformed> {
    let (mut package, mut services) = ("", Vec::new());
    Message::each(bytes, |number, bytes| {
        match number {
            FILE_PACKAGE => package = text(bytes)?,
            FILE_SERVICE => services.push(bytes),
            _ => {}
        }
        Ok(())
    })?;
    services.into_iter().try_for_each(|service| read_service(package, service, found))
}

fn read_service(package: &str, bytes: &[u8], found: &mut Found) -> Result<(), Malformed> {
    let (mut service, mut methods, mut of_service) = ("", Vec::new(), None);
    Message::each(bytes, |number, bytes| {
        match number {
            SERVICE_NAME => service = text(bytes)?,
            SERVICE_METHOD => methods.push(bytes),
            SERVICE_OPTIONS => option(bytes, &mut of_service)?,
            _ => {}
        }
        Ok(())
    })?;
    let dot = if package.is_empty() { "" } else { "." };
    for method in methods {
        let (mut name, mut of_method) = ("", None);
        Message::each(method, |number, bytes| {
            match number {
                METHOD_NAME => name = text(bytes)?,
                METHOD_OPTIONS => option(bytes, &mut of_method)?,
                _ => {}
            }
            Ok(())
        })?;
        let option = of_method.or_else(|| of_service.clone());
        found.push((format!("/{package}{dot}{service}/{name}"), option));
    }
    Ok(())
}

/// Options that are there in parts are one message: protobuf merges by joining the bytes.
fn option(options: &[u8], into: &mut Option<Vec<u8>>) -> Result<(), Malformed> {
    let mut message = Message::new(options);
    while let Some((number, field)) = message.next()? {
        if number == OPTION {
            let super::wire::Field::Bytes(bytes) = field else { return Err(Malformed) };
            into.get_or_insert_default().extend_from_slice(bytes);
        }
    }
    Ok(())
}
