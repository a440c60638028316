//! The methods that a gate stands in front of, and whether each of them has a rule.

use super::builder::{GateBuilder, GateError};
use super::layer::Gate;
use crate::authorization::{Coverage, InvalidDescriptorSet, Methods, Reach};

/// What a builder was told of the server's methods.
#[derive(Debug, Default)]
pub(super) struct Interface {
    methods: Methods,
    invalid: Option<InvalidDescriptorSet>,
    strict: bool,
}

impl GateBuilder {
    /// Tells the gate which methods the server has: the bytes of a `FileDescriptorSet`, as
    /// `tonic_prost_build`'s `file_descriptor_set_path` writes them. Several calls add up.
    ///
    /// Once built, the gate logs one event at level `info`: how many methods are public, for
    /// authenticated callers, denied, and without a rule, and which (each list cut at some 2,000
    /// characters). [`Gate::coverage`] tells the same.
    ///
    /// ```
    /// # use countersign_testkit::greeter::FILE_DESCRIPTOR_SET;
    /// use countersign::{Gate, MutualTls, Rules};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gate = Gate::builder()
    ///     .authenticate(MutualTls::new())
    ///     .authorize(Rules::new().health_is_public().authenticated("*"))
    ///     .methods_of(FILE_DESCRIPTOR_SET)
    ///     .methods_of(tonic_health::pb::FILE_DESCRIPTOR_SET)
    ///     .strict()
    ///     .build()?;
    /// # drop(gate);
    /// # Ok(())
    /// # }
    /// ```
    pub fn methods_of(mut self, descriptor_set: &[u8]) -> Self {
        match Methods::from_descriptor_set(descriptor_set) {
            Ok(methods) => self.interface.methods.merge(methods),
            Err(error) => drop(self.interface.invalid.get_or_insert(error)),
        }
        self
    }

    /// Refuses to be built where one of the [methods](Self::methods_of) has no rule.
    ///
    /// Without a rule a method is denied either way; a strict gate says at the start that
    /// somebody forgot it. Where a [`PolicyFile`](crate::authorization::PolicyFile) is the policy, a
    /// later one that leaves a method without a rule does not take the last good one's place.
    pub fn strict(mut self) -> Self {
        self.interface.strict = true;
        self
    }
}

impl Interface {
    /// Looks whether what was told can be used.
    pub(super) fn check(&self) -> Result<(), GateError> {
        if let Some(error) = &self.invalid {
            return Err(error.clone().into());
        }
        match self.strict && self.methods.is_empty() {
            true => Err(GateError::NoMethods),
            false => Ok(()),
        }
    }

    /// The methods of which each needs a rule.
    pub(super) fn to_be_covered(&self) -> Option<&Methods> {
        self.strict.then_some(&self.methods)
    }

    pub(super) fn covered_by(coverage: &Coverage) -> Result<(), GateError> {
        let methods: Vec<_> = coverage.reaching(Reach::NoRule).map(str::to_owned).collect();
        if methods.is_empty() { Ok(()) } else { Err(GateError::Uncovered { methods }) }
    }

    /// The methods, if any were told.
    pub(super) fn methods(self) -> Option<Methods> {
        (!self.methods.is_empty()).then_some(self.methods)
    }
}

impl Gate {
    /// The methods by who may call them, as of now; `None` where the gate was not told of any
    /// ([`GateBuilder::methods_of`]). Takes time in proportion to methods times rules.
    pub fn coverage(&self) -> Option<Coverage> {
        let methods = self.inner.methods.as_ref()?;
        Some(self.inner.authorizer.coverage(methods))
    }

    /// Tells the operator once.
    pub(super) fn tell_coverage(&self) {
        let Some(coverage) = self.coverage() else { return };
        let count = |reach| coverage.count(reach);
        tracing::info!(
            methods = coverage.methods().len(),
            public = count(Reach::Public),
            authenticated = count(Reach::Authenticated),
            denied = count(Reach::Denied),
            no_rule = count(Reach::NoRule),
            public_methods = %coverage.list(Reach::Public),
            authenticated_methods = %coverage.list(Reach::Authenticated),
            denied_methods = %coverage.list(Reach::Denied),
            methods_without_rule = %coverage.list(Reach::NoRule),
            "what the gate lets through"
        );
    }
}
