use std::error::Error;

/// An error's own words and those of its causes in one line, with colons between.
///
/// It walks the whole of [`Error::source`], so a cause whose words are in the error's own as well
/// is there twice.
pub fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::ConfigError;

    #[derive(Debug)]
    struct Because(&'static str, Option<Box<Because>>);

    impl fmt::Display for Because {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Because {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn every_cause_is_named_in_order_and_a_lone_error_has_no_colon() {
        let lone = Because("the disk is full", None);
        assert_eq!(chain(&lone), "the disk is full");
        let middle = Because("cannot write", Some(Box::new(lone)));
        let whole = Because("cannot save", Some(Box::new(middle)));
        assert_eq!(chain(&whole), "cannot save: cannot write: the disk is full");
        let error = ConfigError::new("no").because(&whole);
        assert_eq!(error.cause(), Some("cannot save: cannot write: the disk is full"));
    }
}
