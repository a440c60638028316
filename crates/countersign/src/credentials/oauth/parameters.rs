use super::form::Form;

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

    pub(super) fn add_to(&self, mut form: Form) -> Form {
        for (name, value) in &self.fields {
            form.push(name, value);
        }
        form
    }
}
