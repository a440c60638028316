use super::form::Form;
use crate::credentials::TokenError;

/// What a grant asks for, beside the grant itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    fields: Vec<(&'static str, String)>,
}

impl Parameters {
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.fields.retain(|(present, _)| *present != name);
        self.fields.push((name, value));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(present, _)| *present == name)
    }

    /// The form with all of them.
    ///
    /// One that is empty would count as left out (RFC 6749 §3.2): what was to be for one audience
    /// would be for any. Nothing is sent then.
    pub(super) fn add_to(&self, mut form: Form) -> Result<Form, TokenError> {
        for (name, value) in &self.fields {
            if value.trim().is_empty() {
                return Err(TokenError::permanent(format!("the parameter `{name}` is empty")));
            }
            form.push(name, value);
        }
        Ok(form)
    }
}
