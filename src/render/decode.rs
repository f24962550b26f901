//! Certificates in texts, shown as what they say: nobody can review a wall of base64.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use serde_json::Value;

use crate::edit::pem;
use crate::memo::Memo;
use crate::pki::{self, Certificate};

/// Shorter words are no certificates.
const SHORTEST: usize = 200;

static DECODED: Memo<Option<Arc<str>>> = Memo::new();

/// The text with every certificate replaced by its facts; None where there is none.
pub fn decoded(text: &str) -> Option<Arc<str>> {
    let decoded = || Ok(decode(text).map(Arc::from));
    DECODED
        .recall(&[text.as_bytes()], decoded)
        .unwrap_or_else(|never: Infallible| match never {})
}

fn decode(text: &str) -> Option<String> {
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return decoded_pem(text);
    }
    if !text.contains("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS") {
        return None;
    }
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        match decoded_line(line) {
            Some(shown) => out.push_str(&shown),
            None => out.push_str(line),
        }
    }
    Some(out)
}

/// Replaces certificates in every text of a value by their facts.
pub fn decode_values(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(facts) = decoded(text) {
                *text = facts.to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(decode_values),
        Value::Object(map) => map.values_mut().for_each(decode_values),
        _ => {}
    }
}

/// PEM blocks in the text, wherever they are indented to.
fn decoded_pem(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut from = 0;
    for block in pem::blocks(text, "").ok()? {
        let Ok(certificate) = Certificate::from_der(&block.der) else {
            continue;
        };
        let line_start = text[..block.range.start].rfind('\n').map_or(0, |i| i + 1);
        let indent = &text[line_start..block.range.start];
        out.push_str(&text[from..line_start]);
        out.push_str(&facts(&certificate, indent));
        from = block.range.end;
        if !text[..from].ends_with('\n') && text[from..].starts_with('\n') {
            from += 1;
        }
    }
    out.push_str(&text[from..]);
    Some(out)
}

/// A line with a word that is base64 of PEM.
fn decoded_line(line: &str) -> Option<String> {
    let separates = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '{' | '}');
    let word = line.split(separates).find(|word| word.len() >= SHORTEST)?;
    let pem = String::from_utf8(BASE64.decode(word).ok()?).ok()?;
    let certificates = pki::certificates_in_pem(&pem, "").ok()?;
    if certificates.is_empty() {
        return None;
    }
    let indent = " ".repeat(line.len() - line.trim_start().len() + 2);
    let many = if certificates.len() == 1 {
        "certificate"
    } else {
        "certificates"
    };
    let mut out = line.replacen(word, &format!("({} {many}, base64)", certificates.len()), 1);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    for certificate in &certificates {
        out.push_str(&facts(certificate, &indent));
    }
    Some(out)
}

/// A certificate's facts, a line each.
fn facts(certificate: &Certificate, indent: &str) -> String {
    let mut out = format!("{indent}certificate\n");
    for (name, value) in pki::facts(certificate) {
        out.push_str(&format!("{indent}  {name:<11} {value}\n"));
    }
    out
}
