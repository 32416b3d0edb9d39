//! Bucket policies: which they are, and what one says of a request.
//!
//! Read are `Effect`, `Principal`, `Action` and `Resource`. A policy with anything else is refused when it is put, so
//! that none is kept which would be understood by half.

use serde::Deserialize;

use super::owner_id;

/// S3's bound on a policy.
pub(super) const MAX_POLICY_BYTES: usize = 20 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    #[serde(rename = "Version")]
    _version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    #[serde(rename = "Statement")]
    statements: OneOrMany<Statement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    #[serde(rename = "Effect")]
    effect: Effect,
    #[serde(rename = "Principal")]
    principal: Principal,
    #[serde(rename = "Action")]
    actions: OneOrMany<String>,
    #[serde(rename = "Resource")]
    resources: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Principal {
    Anybody(String),
    Accounts {
        #[serde(rename = "AWS")]
        aws: OneOrMany<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn iter(&self) -> impl Iterator<Item = &T> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter(),
            Self::Many(many) => many.iter(),
        }
    }
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Somebody allows it, and nobody denies it.
    Allow,
    /// Somebody denies it.
    Deny,
    /// Nothing.
    Silent,
}

impl Policy {
    /// Reads a policy for `bucket`.
    ///
    /// # Errors
    /// Says what is not understood, or is about another bucket.
    pub(super) fn read(text: &str, bucket: &str) -> Result<Self, String> {
        let policy: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let own = format!("arn:aws:s3:::{bucket}");
        for statement in policy.statements.iter() {
            if matches!(&statement.principal, Principal::Anybody(anybody) if anybody != "*") {
                return Err("Invalid principal in policy".into());
            }
            let foreign = statement
                .resources
                .iter()
                .find(|resource| **resource != own && !resource.starts_with(&format!("{own}/")));
            if let Some(foreign) = foreign {
                return Err(format!("Policy has invalid resource {foreign}"));
            }
            if let Some(action) =
                statement.actions.iter().find(|action| *action != "*" && !action.starts_with("s3:"))
            {
                return Err(format!("Policy has invalid action {action}"));
            }
        }
        Ok(policy)
    }

    /// Whether it lets everybody in.
    pub(super) fn is_public(&self) -> bool {
        self.statements
            .iter()
            .any(|statement| statement.effect == Effect::Allow && statement.principal.is(None))
    }

    /// What it says of `action` (without `s3:`) on a bucket or an object in it, by an account or by anybody.
    pub(super) fn verdict(
        &self,
        account: Option<&str>,
        action: &str,
        bucket: &str,
        key: Option<&str>,
    ) -> Verdict {
        let action = format!("s3:{action}").to_ascii_lowercase();
        let resource = match key {
            Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
            None => format!("arn:aws:s3:::{bucket}"),
        };
        let speaks = |statement: &&Statement| {
            statement.principal.is(account)
                && statement.actions.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &action))
                && statement.resources.iter().any(|pattern| matches(pattern, &resource))
        };
        let mut verdict = Verdict::Silent;
        for statement in self.statements.iter().filter(speaks) {
            match statement.effect {
                Effect::Deny => return Verdict::Deny,
                Effect::Allow => verdict = Verdict::Allow,
            }
        }
        verdict
    }
}

impl Principal {
    fn is(&self, account: Option<&str>) -> bool {
        match self {
            Self::Anybody(_) => true,
            Self::Accounts { aws } => aws.iter().any(|named| {
                named == "*"
                    || account.is_some_and(|account| {
                        named == account
                            || *named == owner_id(account)
                            || named.starts_with(&format!("arn:aws:iam::{account}:"))
                    })
            }),
        }
    }
}

/// Whether a text is as a pattern with `*` and `?` has it. Linear in the text for each `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star, mut mark) = (0, 0, None, 0);
    while t < text.len() {
        if p < pattern.len() && (pattern[p] == '?' || (pattern[p] != '*' && pattern[p] == text[t])) {
            (p, t) = (p + 1, t + 1);
        } else if p < pattern.len() && pattern[p] == '*' {
            star = Some(p);
            (p, mark) = (p + 1, t);
        } else if let Some(star) = star {
            mark += 1;
            (p, t) = (star + 1, mark);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_stands_above_what_is_allowed() {
        let text = r#"{"Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"},
            {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["s3:*"], "Resource": ["arn:aws:s3:::b/x?/*"]},
            {"Effect": "Allow", "Principal": {"AWS": ["bob"]}, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b"}
        ]}"#;
        let policy = Policy::read(text, "b").unwrap();
        assert!(policy.is_public());
        assert_eq!(policy.verdict(None, "GetObject", "b", Some("k")), Verdict::Allow);
        assert_eq!(policy.verdict(None, "PutObject", "b", Some("k")), Verdict::Silent);
        assert_eq!(policy.verdict(Some("bob"), "GetObject", "b", Some("x1/k")), Verdict::Deny);
        assert_eq!(policy.verdict(Some("bob"), "ListBucket", "b", None), Verdict::Allow);
        assert_eq!(policy.verdict(Some("eve"), "ListBucket", "b", None), Verdict::Silent);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "{}",
            r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:s3:::c/*"}}"#,
            r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:s3:::b",
                "Condition": {}}}"#,
            r#"{"Statement": {"Effect": "Allow", "NotPrincipal": "*", "Action": "*", "Resource": "arn:aws:s3:::b"}}"#,
        ] {
            assert!(Policy::read(text, "b").is_err(), "{text}");
        }
    }
}
