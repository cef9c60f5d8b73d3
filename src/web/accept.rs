//! Content negotiation by `Accept` (RFC 9110, section 12.5.1).

use http::HeaderMap;
use http::HeaderName;
use http::header;

use crate::error::Error;
use crate::error::Kind;

/// A weight in thousandths.
type Weight = u16;

const FULL_WEIGHT: Weight = 1000;

/// Chooses the media type of a response: of those that `Accept` names the one with the highest
/// weight, else the first that it does not refuse. Of equal ones, the first counts.
///
/// # Errors
/// `NotAcceptable` if `Accept` refuses every one with `q=0`. One that names only other types gets
/// the first: clients send the same `Accept` whatever they call.
pub(crate) fn media_type<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Result<&'a str, Error> {
    let ranges = ranges(headers, &header::ACCEPT);
    let weigh = |offer: &str| {
        let matching = ranges.iter().filter_map(|(range, weight)| {
            specificity(range, offer).map(|specificity| (specificity, *weight))
        });
        // The most specific range counts (RFC 9110, section 12.5.1).
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, weight)| weight)
    };
    let weighed = || offered.iter().map(|offer| (*offer, weigh(offer)));
    let mut best: Option<(&str, Weight)> = None;
    for (offer, weight) in weighed() {
        if let Some(weight) = weight
            && weight > best.map_or(0, |(_, weight)| weight)
        {
            best = Some((offer, weight));
        }
    }
    let unnamed = || weighed().find(|(_, weight)| weight.is_none()).map(|(offer, _)| offer);
    best.map(|(offer, _)| offer).or_else(unnamed).ok_or_else(|| {
        let offered = offered.join(" or ");
        Error::new(Kind::NotAcceptable, format!("Accept: expected {offered}, got q=0 for all"))
    })
}

/// The ranges of a header with their weights. Their parameters are ignored.
fn ranges<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<(&'a str, Weight)> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(',')).map(|range| {
        let mut parameters = range.split(';').map(str::trim);
        let range = parameters.next().unwrap_or_default();
        let weight = parameters.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| weight(value.trim()))
        });
        (range, weight.unwrap_or(FULL_WEIGHT))
    });
    ranges.filter(|(range, _)| !range.is_empty()).collect()
}

/// Parses a weight (RFC 9110, section 12.4.2). One that is malformed counts as full.
fn weight(text: &str) -> Weight {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return FULL_WEIGHT;
    }
    match whole {
        "0" => format!("{decimals:0<3}").parse().unwrap_or(FULL_WEIGHT),
        _ => FULL_WEIGHT,
    }
}

/// Returns how precisely a range covers a media type; `None` if it does not.
fn specificity(range: &str, offer: &str) -> Option<u8> {
    if range == "*/*" {
        return Some(0);
    }
    let (kind, subtype) = range.split_once('/')?;
    let (offered_kind, offered_subtype) = offer.split_once('/')?;
    if !kind.eq_ignore_ascii_case(offered_kind) {
        return None;
    }
    match subtype {
        "*" => Some(1),
        _ => subtype.eq_ignore_ascii_case(offered_subtype).then_some(2),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn highest_weight_decides() {
        const LINES: &str = "application/x-ndjson";
        const SSE: &str = "text/event-stream";
        for (accept, expected) in [
            (&[][..], Some(LINES)),
            (&["*/*"], Some(LINES)),
            (&["application/json"], Some(LINES)),
            (&["text/event-stream"], Some(SSE)),
            (&["TEXT/Event-Stream; charset=utf-8"], Some(SSE)),
            (&["text/*"], Some(SSE)),
            (&["text/event-stream;q=0"], Some(LINES)),
            (&["text/event-stream; q=0.000, */*"], Some(LINES)),
            (&["application/x-ndjson;q=0.5, text/event-stream;q=0.6"], Some(SSE)),
            (&["application/x-ndjson;q=0.5", "text/event-stream;Q=0.4"], Some(LINES)),
            (&["*/*;q=0.1, text/event-stream"], Some(SSE)),
            (&["application/x-ndjson;q=0"], Some(SSE)),
            (&["*/*;q=0"], None),
            (&["*/*;q=0, text/event-stream;q=0.001"], Some(SSE)),
            (&["text/event-stream;q=nonsense"], Some(SSE)),
            (&["text/event-stream;q=0.0001"], Some(SSE)),
            (&["text/event-streams, ,;q=0"], Some(LINES)),
            (&["text/plain;q=0, application/x-ndjson;q=0, text/event-stream;q=0"], None),
        ] {
            let chosen = media_type(&headers(header::ACCEPT, accept), &[LINES, SSE]);
            assert_eq!(chosen.ok(), expected, "{accept:?}");
        }
    }
}
