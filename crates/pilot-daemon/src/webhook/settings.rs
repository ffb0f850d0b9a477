//! Where notices are posted, and what signs them.

use std::fmt;

use pilot_api::ApiError;
use pilot_api::types::NoticeKind;
use pilot_store::FileConfig;

use crate::web::Destination;

/// Shortest secret: what is shorter can be guessed from one signature.
const MIN_SECRET: usize = 16;
/// Longest secret.
const MAX_SECRET: usize = 256;

/// A webhook's settings, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    pub(super) url: String,
    pub(super) destination: Destination,
    pub(super) secret: String,
    kinds: Vec<NoticeKind>,
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("url", &self.url)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl WebhookSettings {
    /// A webhook at this URL, whose posts this secret (16 to 256 bytes) signs; no kinds for all but events.
    ///
    /// # Errors
    /// `invalid_argument` that names what is wrong.
    pub fn new(url: String, secret: String, kinds: Vec<NoticeKind>) -> Result<Self, ApiError> {
        let destination = Destination::parse(&url)
            .map_err(|words| ApiError::invalid(format!("invalid webhook URL {url:?}: {words}")))?;
        if !(MIN_SECRET..=MAX_SECRET).contains(&secret.len()) {
            let words = format!("a webhook's secret has {MIN_SECRET} to {MAX_SECRET} bytes");
            return Err(ApiError::invalid(words).with_hint("leave --secret out: one is made then"));
        }
        Ok(Self {
            url,
            destination,
            secret,
            kinds,
        })
    }

    /// As the configuration has them; `None` where there is no webhook.
    ///
    /// # Errors
    /// `invalid_argument` that names what is wrong.
    pub(crate) fn of_file(file: &FileConfig) -> Result<Option<Self>, ApiError> {
        let Some(url) = file.webhook_url.clone() else {
            return Ok(None);
        };
        let secret = file.webhook_secret.clone().ok_or_else(|| {
            ApiError::invalid("config.json has a webhook_url and no webhook_secret")
                .with_hint("pilotctl webhook set URL")
        })?;
        let kinds = file.webhook_kinds.iter().map(|word| word.parse());
        let kinds = kinds
            .collect::<Result<_, String>>()
            .map_err(|words| ApiError::invalid(format!("webhook_kinds in config.json: {words}")))?;
        Self::new(url, secret, kinds).map(Some)
    }

    /// Into the configuration.
    pub(crate) fn write(settings: Option<&Self>, file: &mut FileConfig) {
        file.webhook_url = settings.map(|it| it.url.clone());
        file.webhook_secret = settings.map(|it| it.secret.clone());
        let kinds = settings.map(|it| it.kinds.iter());
        let words = kinds
            .into_iter()
            .flatten()
            .map(|kind| kind.word().to_owned());
        file.webhook_kinds = words.collect();
    }

    /// The kinds that are posted. Events, which may be many, only where they are named.
    pub(crate) fn kinds(&self) -> Vec<NoticeKind> {
        if !self.kinds.is_empty() {
            return self.kinds.clone();
        }
        let all = NoticeKind::ALL.into_iter();
        all.filter(|kind| *kind != NoticeKind::Event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_file_and_debug_hides_the_secret() {
        let kinds = vec![NoticeKind::Message, NoticeKind::Knock];
        let secret = "5e".repeat(32);
        let settings =
            WebhookSettings::new("https://hooks.example/x".to_owned(), secret.clone(), kinds);
        let settings = settings.unwrap();
        let mut file = FileConfig::default();
        WebhookSettings::write(Some(&settings), &mut file);
        assert_eq!(
            WebhookSettings::of_file(&file).unwrap().as_ref(),
            Some(&settings)
        );
        assert!(!format!("{settings:?}").contains(&secret));
        WebhookSettings::write(None, &mut file);
        assert_eq!(file, FileConfig::default());
    }

    #[test]
    fn bad_settings_are_refused_in_words() {
        let secret = || "x".repeat(16);
        for url in [
            "",
            "hooks.example",
            "ftp://hooks.example",
            "http://",
            "http://user:word@hooks.example",
            "http://hooks.example:0/",
            "http://hooks example/",
        ] {
            let refused = WebhookSettings::new(url.to_owned(), secret(), vec![]);
            assert!(
                refused.unwrap_err().message.contains("webhook URL"),
                "{url}"
            );
        }
        let short = WebhookSettings::new("http://a/".to_owned(), "x".repeat(15), vec![]);
        assert!(short.unwrap_err().message.contains("16"));
    }

    #[test]
    fn events_are_posted_only_where_they_are_named() {
        let of = |kinds| {
            let settings = WebhookSettings::new("http://a/".to_owned(), "x".repeat(16), kinds);
            settings.unwrap().kinds()
        };
        assert!(!of(vec![]).contains(&NoticeKind::Event));
        assert_eq!(of(vec![NoticeKind::Event]), [NoticeKind::Event]);
    }
}
