//! A YAML document as JSON, as strict as an API server: a key that stands twice, a key that is not
//! text, a tag, or a number that JSON cannot write is an error instead of somebody's guess.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The document's value.
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Strict, D::Error> {
        from.deserialize_any(AnyValue).map(Strict)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a value that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that JSON cannot write"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Strict(value)) = from.next_element()? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let Strict(value) = from.next_value()?;
            if out.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Value> {
        serde_yaml::from_str::<Strict>(text).ok().map(|read| read.0)
    }

    #[test]
    fn what_kubectl_prints_is_read() {
        let text = "a: [1, -2, 1.5, true, null, ~]\nb: {c: \"x\"}\n\"d/e\": |\n  two\n  lines\n";
        let expected = serde_json::json!({
            "a": [1, -2, 1.5, true, null, null], "b": {"c": "x"}, "d/e": "two\nlines\n",
        });
        assert_eq!(read(text), Some(expected));
    }

    #[test]
    fn what_is_open_to_guesses_is_not() {
        for text in [
            "a: 1\na: 2\n",
            "a: {b: 1, b: 1}\n",
            "a: .inf\n",
            "a: !x 1\n",
            "[a]: 1\n",
            "a: 1\n---\nb: 1\n",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
