//! Responses of a token endpoint that reject the refresh token itself, and their messages.
//!
//! Input: the definition; then a response with its status. Output: a fault. Called by [`super::request`].

use serde_json::Value as Json;

use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::manifest::model::OAuthAuthenticator;

/// The maximum number of characters of a provider's error text that are shown.
const MAX_DETAIL: usize = 64;

/// The responses that reject the refresh token itself.
#[derive(Debug)]
pub(super) struct Refusals {
    pub(super) statuses: Vec<u64>,
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

impl Refusals {
    pub(super) fn of(def: &OAuthAuthenticator) -> Result<Refusals> {
        let own = Refusals::from_parts(
            def.refresh_token_error_status_codes.as_ref(),
            def.refresh_token_error_key.as_ref(),
            def.refresh_token_error_values.as_ref(),
        );
        let older = def.refresh_token_updater.as_ref().and_then(|u| {
            Refusals::from_parts(
                u.refresh_token_error_status_codes.as_ref(),
                u.refresh_token_error_key.as_ref(),
                u.refresh_token_error_values.as_ref(),
            )
        });
        match (own, older) {
            (Some(_), Some(_)) => {
                Err(def.at.fault("set `refresh_token_error_…` either here or in `refresh_token_updater`, not in both"))
            }
            (own, older) => Ok(own.or(older).unwrap_or_else(|| Refusals {
                statuses: vec![400],
                key: "error".into(),
                values: vec!["invalid_grant".into(), "invalid_permissions".into()],
            })),
        }
    }

    fn from_parts(statuses: Option<&Vec<u64>>, key: Option<&String>, values: Option<&Vec<String>>) -> Option<Refusals> {
        let parts = Refusals {
            statuses: statuses.cloned().unwrap_or_default(),
            key: key.cloned().unwrap_or_default(),
            values: values.cloned().unwrap_or_default(),
        };
        (!parts.statuses.is_empty() || !parts.key.is_empty() || !parts.values.is_empty()).then_some(parts)
    }

    /// The fault for an error of the token endpoint. It contains only the code of RFC 6749 §5.2, and the code at the
    /// start of its description: prose may quote what was sent.
    pub(super) fn fault(&self, status: u16, answer: &Json) -> Fault {
        let code = answer["error"].as_str().map(str::trim).filter(|c| !c.is_empty());
        let leading = answer["error_description"].as_str().and_then(leading_code);
        let detail = [code, leading].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let detail = match detail.char_indices().nth(MAX_DETAIL) {
            Some((end, _)) => format!("{}...", &detail[..end]),
            None => detail,
        };
        let quoted = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        let text = format!("the token endpoint refused the token request: HTTP {status}{quoted}");
        let fault = match status {
            400 | 401 | 403 => Fault::new(Kind::Auth, text)
                .hint("check the client and the refresh token in the config, or log in again"),
            _ => Fault::data(text),
        };
        let listed = self.statuses.contains(&status.into())
            && answer[&self.key].as_str().is_some_and(|v| self.values.iter().any(|known| known == v));
        if !listed {
            return fault;
        }
        let mut quoted = "Refresh token was rejected by the OAuth provider (invalid, expired, or already used). \
                        Re-authenticate this source's credentials in its connection settings."
            .to_owned();
        if !detail.is_empty() {
            quoted += &format!(" Provider error: {detail}");
        }
        Fault { kind: Kind::Auth, ..fault }.airbyte_message(quoted, Failure::Config)
    }
}

/// The code at the start of a provider's description, such as `AADSTS50173`: at least three letters, then at least
/// four digits.
fn leading_code(text: &str) -> Option<&str> {
    let text = text.trim();
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let digits = text[letters..].bytes().take_while(u8::is_ascii_digit).count();
    let code = &text[..letters + digits];
    let ends = text[code.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '_');
    (letters >= 3 && digits >= 4 && ends).then_some(code)
}
