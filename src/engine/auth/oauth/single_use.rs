//! Single-use tokens: fetched by one process at a time, and saved before use.
//!
//! Input: the tokens known to this process. Output: a valid access token, after its refresh token is saved in the
//! state directory and announced to the reader of the messages. Called by [`super::OAuth`].

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{OAuth, Tokens, time_of};
use crate::base::fault::{Fault, Result};
use crate::base::json::python;
use crate::base::store::{Locked, Store, StoredFile};
use crate::base::timefmt::isoformat;
use crate::engine::auth::{Builder, TokenTransport};
use crate::manifest::model::RefreshTokenUpdater;
use crate::manifest::template::Vars;

/// The config paths of single-use tokens.
#[derive(Debug)]
pub(super) struct Updater {
    pub(super) answer_field: String,
    pub(super) access: Vec<String>,
    pub(super) refresh: Vec<String>,
    pub(super) expiry: Vec<String>,
    store: Option<Store>,
    announced: bool,
}

impl OAuth {
    /// Fetches a token. Single-use tokens are fetched by one process at a time, and saved first.
    pub(super) fn replace(
        &self,
        tokens: &mut Tokens,
        serves: &dyn Fn(&Tokens) -> Option<String>,
        vars: &Vars<'_>,
        exchange: &dyn TokenTransport,
    ) -> Result<String> {
        let Some(updater) = &self.updater else {
            let (fetched, late) = self.fetch(tokens, vars, exchange)?;
            *tokens = fetched;
            return late.map_or_else(|| tokens.access.clone().ok_or_else(|| self.no_token()), Err);
        };
        let from = self.begin(vars)?;
        let file = self.file(updater, &from, vars)?;
        // Without a refresh token, none can be used up.
        let single_use = from.refresh.is_some_and(|token| !token.is_empty());
        if file.is_none() && single_use && !updater.announced {
            return Err(Fault::config(
                "the refresh token changes with every use, and there is no state directory to save the next one",
            )
            .at(&self.at.location)
            .hint("set a folder in dripfeed.state_dir or in the environment variable DRIPFEED_STATE_DIR"));
        }
        let locked = file.as_ref().map(|f| f.lock(exchange.stop())).transpose()?;
        // Tokens that could not be saved are newer than the saved ones.
        if !tokens.unsaved
            && let Some(stored) = locked.as_ref().map(Locked::read).transpose()?.flatten()
        {
            *tokens = Tokens::stored(&stored);
            for secret in tokens.access.iter().chain(&tokens.refresh) {
                exchange.token_listener().learned(secret);
            }
            if let Some(token) = serves(tokens) {
                return Ok(token);
            }
        }
        let draft = locked.as_ref().map(Locked::draft).transpose()?;
        let mut late = None;
        // Once the request is sent, the old refresh token may be invalid.
        let critical = exchange.stop().critical();
        if !tokens.unsaved {
            (*tokens, late) = self.fetch(tokens, vars, exchange)?;
            tokens.unsaved = true;
        }
        let access = tokens.access.clone().ok_or_else(|| self.no_token())?;
        let refresh = tokens.refresh.clone().unwrap_or_default();
        let expiry = tokens.expires.map(|t| isoformat(t, 'T')).unwrap_or_default();
        if let Some(draft) = draft {
            draft
                .put(&json!({"v": 1, "access_token": access, "refresh_token": refresh, "token_expiry_date": expiry}))?;
        }
        let changes = [(&*updater.access, access.clone()), (&*updater.refresh, refresh), (&*updater.expiry, expiry)];
        exchange.token_listener().rotated(&changes)?;
        tokens.unsaved = false;
        drop(critical);
        late.map_or(Ok(access), Err)
    }

    /// The file for tokens that descend from the config's refresh token: another login has another file.
    fn file(&self, updater: &Updater, from: &Tokens, vars: &Vars<'_>) -> Result<Option<StoredFile>> {
        let (Some(store), Some(refresh)) = (&updater.store, from.refresh.as_ref().filter(|t| !t.is_empty())) else {
            return Ok(None);
        };
        let endpoint = self.endpoint.as_ref().map(|e| e.text(vars)).transpose()?;
        let client = self.fields(from, vars)?.get(&self.names.client_id.text(vars)?).cloned();
        let paths = [&updater.access, &updater.refresh, &updater.expiry];
        let hash = Sha256::digest(python::canonical(&json!([endpoint, client, paths, refresh])));
        let name: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
        Ok(Some(store.file("tokens", &name)))
    }
}

impl Updater {
    pub(super) fn build(def: &RefreshTokenUpdater, builder: &Builder) -> Updater {
        let path = |path: &Option<Vec<String>>, field: &str| {
            path.clone().unwrap_or_else(|| vec!["credentials".into(), field.into()])
        };
        Updater {
            answer_field: def.refresh_token_name.clone().unwrap_or_else(|| "refresh_token".into()),
            access: path(&def.access_token_config_path, "access_token"),
            refresh: path(&def.refresh_token_config_path, "refresh_token"),
            expiry: path(&def.token_expiry_date_config_path, "token_expiry_date"),
            store: builder.store.clone(),
            announced: builder.announced,
        }
    }
}

impl Tokens {
    /// The tokens from a file in the state directory.
    fn stored(file: &Json) -> Tokens {
        let text = |key: &str| file[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        Tokens {
            access: text("access_token"),
            refresh: text("refresh_token"),
            expires: text("token_expiry_date").and_then(|t| time_of(&t)),
            unsaved: false,
        }
    }
}
