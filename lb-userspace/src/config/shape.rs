//! The types that a key of the file can have.

use std::fmt;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A type that a TOML value may have.
pub(super) trait Shape<'t>: Sized {
    /// What a problem calls the type.
    const EXPECTED: &'static str;
    /// What a problem calls an array of them.
    const ARRAY: &'static str = "an array";

    /// The value, or what a problem calls the type that it has instead.
    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String>;
}

impl<'t> Shape<'t> for String {
    const EXPECTED: &'static str = "a string";
    const ARRAY: &'static str = "an array of strings";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        let found = kind(&value);
        let DeValue::String(text) = value.into_inner() else {
            return Err(found.to_owned());
        };
        Ok(text.into_owned())
    }
}

impl<'t> Shape<'t> for i64 {
    const EXPECTED: &'static str = "an integer";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(kind(&value).to_owned());
        };
        Self::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| "an integer beyond 64 bits".to_owned())
    }
}

impl<'t> Shape<'t> for bool {
    const EXPECTED: &'static str = "true or false";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        let DeValue::Boolean(truth) = value.get_ref() else {
            return Err(kind(&value).to_owned());
        };
        Ok(*truth)
    }
}

impl<'t> Shape<'t> for DeTable<'t> {
    const EXPECTED: &'static str = "a table";
    const ARRAY: &'static str = "an array of tables";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        let found = kind(&value);
        let DeValue::Table(table) = value.into_inner() else {
            return Err(found.to_owned());
        };
        Ok(table)
    }
}

impl<'t, T: Shape<'t>> Shape<'t> for Vec<Spanned<T>> {
    const EXPECTED: &'static str = T::ARRAY;

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        let found = kind(&value);
        let DeValue::Array(array) = value.into_inner() else {
            return Err(found.to_owned());
        };
        let elements = array.into_iter().map(|element| {
            let span = element.span();
            let element = T::shape(element);
            element
                .map(|element| Spanned::new(span, element))
                .map_err(|found| format!("an array that holds {found}"))
        });
        elements.collect()
    }
}

/// A string, or an array of strings.
pub(super) struct OneOrMore(pub Vec<Spanned<String>>);

impl<'t> Shape<'t> for OneOrMore {
    const EXPECTED: &'static str = "a string or an array of strings";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        if let DeValue::String(text) = value.get_ref() {
            let text = text.clone().into_owned();
            return Ok(Self(vec![Spanned::new(value.span(), text)]));
        }
        Vec::shape(value).map(Self)
    }
}

/// A table, or an array of tables.
pub(super) struct Tables<'t>(pub Vec<Spanned<DeTable<'t>>>);

impl<'t> Shape<'t> for Tables<'t> {
    const EXPECTED: &'static str = "a table or an array of tables";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        if matches!(value.get_ref(), DeValue::Table(_)) {
            let span = value.span();
            return DeTable::shape(value).map(|table| Self(vec![Spanned::new(span, table)]));
        }
        Vec::shape(value).map(Self)
    }
}

/// A string, or an integer as a string.
pub(super) struct Codes(pub String);

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'t> Shape<'t> for Codes {
    const EXPECTED: &'static str = "a string or an integer";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        if let DeValue::Integer(_) = value.get_ref() {
            return i64::shape(value).map(|number| Self(number.to_string()));
        }
        String::shape(value).map(Self)
    }
}

/// A number, a text that stands for some, or an array of them; each as text.
pub(super) struct Numbers(pub Vec<Spanned<String>>);

impl<'t> Shape<'t> for Numbers {
    const EXPECTED: &'static str = "a number, a range such as \"10-20\", or an array of them";

    fn shape(value: Spanned<DeValue<'t>>) -> Result<Self, String> {
        let found = kind(&value);
        let one = |value: Spanned<DeValue<'t>>| {
            let (span, kind) = (value.span(), kind(&value));
            let text = match value.into_inner() {
                DeValue::Integer(number) => number.as_str().replace('_', ""),
                DeValue::String(text) => text.into_owned(),
                DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => return Err(kind),
            };
            Ok(Spanned::new(span, text))
        };
        if matches!(value.get_ref(), DeValue::Array(_)) {
            let DeValue::Array(array) = value.into_inner() else {
                return Err(found.to_owned());
            };
            let texts: Result<_, _> = array.into_iter().map(one).collect();
            return texts
                .map(Self)
                .map_err(|kind| format!("an array that holds {kind}"));
        }
        one(value)
            .map(|text| Self(vec![text]))
            .map_err(str::to_owned)
    }
}

/// What a problem calls the type of a value.
fn kind(value: &Spanned<DeValue>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
