//! What a seed draws before the first run: how the vendor pages, how the manifest reads it, and what may go wrong.
//!
//! Comes in: dice. Goes out: a [`Plan`], and the manifest that it makes. Called by the walk.

use serde_json::{Value as Json, json};

use crate::support::population::Dice;

/// How pages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paging {
    /// A token that stands for the last row.
    Token,
    /// A `Link` header with such a token.
    Link,
    Page,
    Offset,
}

/// What a body says of rows after its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Nothing,
    HasMore,
    Total,
    /// There are always more, if one believes it.
    FalseTotal,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) paging: Paging,
    pub(super) words: Words,
    pub(super) stop: Option<&'static str>,
    pub(super) page_size: usize,
    pub(super) microseconds: bool,
    pub(super) step: Option<&'static str>,
    /// Do requests name the end of their window?
    pub(super) until: bool,
    pub(super) partitions: usize,
    pub(super) newest_first: bool,
    /// Do pages hold fewer rows than were asked for?
    pub(super) short_pages: bool,
    pub(super) ignores_404: bool,
    pub(super) max_retries: u64,
    pub(super) threads: u64,
    pub(super) edits_between_pages: bool,
    pub(super) record_ahead: bool,
    pub(super) records: u64,
    pub(super) runs: u64,
    /// How likely an answer is odd.
    pub(super) odd: f64,
}

const STOPS: [Option<&str>; 3] =
    [None, Some("{{ not response.get('next_token') }}"), Some("{{ not response.get('has_more') }}")];

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Plan {
        let paging = dice.of(&[Paging::Token, Paging::Token, Paging::Link, Paging::Page, Paging::Offset]);
        let by_token = matches!(paging, Paging::Token | Paging::Link);
        let stop = if paging == Paging::Token { dice.of(&STOPS) } else { None };
        let words = match stop {
            Some(text) if text.contains("has_more") => Words::HasMore,
            _ if by_token => dice.of(&[Words::Nothing, Words::HasMore, Words::Total]),
            _ => dice.of(&[Words::Nothing, Words::HasMore, Words::Total, Words::FalseTotal]),
        };
        let step = dice.of(&[None, None, Some("P3D"), Some("P11D")]);
        let until = step.is_some() || dice.chance(0.3);
        Plan {
            paging,
            words,
            stop,
            step,
            until,
            page_size: 2 + dice.below(4) as usize,
            microseconds: dice.chance(0.5),
            partitions: dice.of(&[0, 0, 1, 2, 3]),
            newest_first: dice.chance(0.3),
            short_pages: (by_token || matches!(words, Words::HasMore | Words::Total)) && dice.chance(0.5),
            ignores_404: dice.chance(0.5),
            max_retries: 1 + dice.below(2),
            threads: dice.of(&[1, 1, 1, 3]),
            edits_between_pages: by_token && dice.chance(0.6),
            record_ahead: !until && dice.chance(0.2),
            records: 5 + dice.below(26),
            runs: 2 + dice.below(3),
            odd: dice.of(&[0.08, 0.2, 0.4]),
        }
    }

    pub(super) fn time_format(&self) -> &'static str {
        if self.microseconds { "%Y-%m-%dT%H:%M:%S.%fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }
    }

    pub(super) fn partition(number: usize) -> String {
        format!("p{number}")
    }

    /// The manifest; `start` is before all records.
    pub(super) fn manifest(&self, start: &str) -> Json {
        let mut retriever = json!({
            "type": "SimpleRetriever", "requester": self.requester(), "paginator": self.paginator(),
            "record_selector": {
                "type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
            },
        });
        if self.partitions > 0 {
            let values: Vec<String> = (0..self.partitions).map(Self::partition).collect();
            retriever["partition_router"] = json!({
                "type": "ListPartitionRouter", "values": values, "cursor_field": "part",
                "request_option": parameter("part"),
            });
        }
        let properties = json!({
            "id": {"type": "string"}, "version": {"type": "integer"},
            "updated": {"type": "string", "format": "date-time"},
        });
        json!({
            "version": "7.39.1", "type": "DeclarativeSource",
            "check": {"type": "CheckStream", "stream_names": ["items"]},
            "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": self.threads},
            "streams": [{
                "type": "DeclarativeStream", "name": "items", "primary_key": ["id"], "retriever": retriever,
                "incremental_sync": self.cursor(start),
                "schema_loader": {
                    "type": "InlineSchemaLoader", "schema": {"type": "object", "properties": properties},
                },
            }],
            "spec": {"type": "Spec", "connection_specification": {
                "type": "object", "additionalProperties": true, "properties": {"url": {"type": "string"}},
            }},
        })
    }

    fn requester(&self) -> Json {
        let mut handler = json!({
            "type": "DefaultErrorHandler", "max_retries": self.max_retries,
            "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.005}],
        });
        if self.ignores_404 {
            let filter = json!({"type": "HttpResponseFilter", "http_codes": [404], "action": "IGNORE"});
            handler["response_filters"] = json!([filter]);
        }
        json!({
            "type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "items", "error_handler": handler,
        })
    }

    fn paginator(&self) -> Json {
        let size = self.page_size;
        let (strategy, token) = match self.paging {
            Paging::Token => {
                let mut strategy =
                    json!({"type": "CursorPagination", "cursor_value": "{{ response.get('next_token') }}"});
                strategy["page_size"] = json!(size);
                if let Some(stop) = self.stop {
                    strategy["stop_condition"] = json!(stop);
                }
                (strategy, parameter("token"))
            }
            Paging::Link => {
                let strategy = json!({
                    "type": "CursorPagination", "cursor_value": "{{ headers['link']['next']['url'] }}",
                    "stop_condition": "{{ 'next' not in headers['link'] }}",
                });
                return json!({
                    "type": "DefaultPaginator", "pagination_strategy": strategy,
                    "page_token_option": {"type": "RequestPath"},
                });
            }
            Paging::Page => {
                (json!({"type": "PageIncrement", "page_size": size, "start_from_page": 1}), parameter("page"))
            }
            Paging::Offset => (json!({"type": "OffsetIncrement", "page_size": size}), parameter("offset")),
        };
        json!({
            "type": "DefaultPaginator", "pagination_strategy": strategy, "page_token_option": token,
            "page_size_option": parameter("limit"),
        })
    }

    fn cursor(&self, start: &str) -> Json {
        let format = self.time_format();
        let mut cursor = json!({
            "type": "DatetimeBasedCursor", "cursor_field": "updated", "datetime_format": format,
            "start_datetime": {"type": "MinMaxDatetime", "datetime": start, "datetime_format": format},
            "start_time_option": parameter("since"),
        });
        if self.until {
            cursor["end_time_option"] = parameter("until");
        }
        if let Some(step) = self.step {
            cursor["step"] = json!(step);
            cursor["cursor_granularity"] = json!(if self.microseconds { "PT0.000001S" } else { "PT1S" });
        }
        cursor
    }
}

fn parameter(name: &str) -> Json {
    json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name})
}
