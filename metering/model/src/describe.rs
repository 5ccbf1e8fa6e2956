//! Errors as people read them.

use std::error::Error;

/// An error with its causes after colons, for a log line or a person.
#[must_use]
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn each_cause_stands_after_its_effect() {
        let inner = "x".parse::<u8>().unwrap_err();
        assert_eq!(describe(&Outer(inner)), "outer: invalid digit found in string");
    }
}
