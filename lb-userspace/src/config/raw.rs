//! The file as it was typed: tables whose keys are taken one by one, with the place of each value.
//!
//! A key that nobody has asked for by the time a table is done is unknown, so the list of known
//! keys cannot drift from what is read.

use std::{collections::BTreeSet, fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    errors::{Fault, ValueError},
    faults::Faults,
    setting,
    shape::{Shape, Tables},
};

/// What problems call the top level.
const FILE: &str = "the file";

/// One table of the file, and the name under which its problems are reported.
pub(super) struct Section<'f, 't> {
    object: String,
    span: Range<usize>,
    values: DeTable<'t>,
    known: Vec<&'static str>,
    faults: &'f Faults<'t>,
}

impl<'f, 't> Section<'f, 't> {
    /// The file's top level; nothing if it is not TOML.
    pub fn root(text: &'t str, faults: &'f Faults<'t>) -> Option<Self> {
        match DeTable::parse(text) {
            Ok(table) => Some(Self::new(FILE.to_owned(), table, faults)),
            Err(error) => {
                let message = error.message().replace('\n', ", ");
                let span = error.span().unwrap_or_default();
                faults.at(&span, FILE, Fault::Syntax(message));
                None
            }
        }
    }

    fn new(object: String, table: Spanned<DeTable<'t>>, faults: &'f Faults<'t>) -> Self {
        Self {
            object,
            span: table.span(),
            values: table.into_inner(),
            known: Vec::new(),
            faults,
        }
    }

    /// Gives the section a meaning, then refuses the keys that had none.
    pub fn read<T>(mut self, meaning: impl FnOnce(&mut Self) -> T) -> T {
        let value = meaning(&mut self);
        for key in self.values.keys() {
            let fault = Fault::UnknownKey {
                key: key.get_ref().escape_debug().to_string(),
                remedy: self.nearest(key.get_ref()),
            };
            self.faults.at(&key.span(), &self.object, fault);
        }
        value
    }

    /// Where problems are collected.
    pub fn faults(&self) -> &'f Faults<'t> {
        self.faults
    }

    /// Reports a problem of the section as a whole.
    pub fn refuse(&self, fault: Fault) {
        self.faults.at(&self.span, &self.object, fault);
    }

    /// Reports a problem of one value.
    pub fn refuse_value(
        &self,
        key: &'static str,
        value: &Spanned<impl fmt::Display>,
        why: impl Into<ValueError>,
    ) {
        let fault = Fault::Value {
            key,
            found: value.get_ref().to_string().escape_debug().to_string(),
            why: why.into(),
        };
        self.faults.at(&value.span(), &self.object, fault);
    }

    /// Whether a key is there and has not been taken yet.
    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Reports a key that is not there, but has to be.
    pub fn require(&self, key: &'static str, example: &'static str) {
        if !self.contains(key) {
            self.refuse(Fault::Missing { key, example });
        }
    }

    /// Takes a key's value; nothing if it is not there, or of another type, which is reported.
    pub fn value<T: Shape<'t>>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        self.known.push(key);
        let value = self.values.remove(key)?;
        let span = value.span();
        match T::shape(value) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(found) => {
                let expected = T::EXPECTED;
                let fault = Fault::WrongType {
                    key,
                    found,
                    expected,
                };
                self.faults.at(&span, &self.object, fault);
                None
            }
        }
    }

    /// Takes a key's value and gives it a meaning; nothing if it is not there, or has none, which
    /// is reported.
    pub fn setting<T, U, E>(
        &mut self,
        key: &'static str,
        meaning: impl FnOnce(&T) -> Result<U, E>,
    ) -> Option<U>
    where
        T: Shape<'t> + fmt::Display,
        E: Into<ValueError>,
    {
        let value = self.value::<T>(key)?;
        let result = meaning(value.get_ref());
        result
            .map_err(|why| self.refuse_value(key, &value, why))
            .ok()
    }

    /// Gives each string of a list a meaning, or nothing where it has none, which is reported.
    pub fn meanings<U, E: Into<ValueError>>(
        &self,
        key: &'static str,
        texts: &[Spanned<String>],
        meaning: impl Fn(&str) -> Result<U, E>,
    ) -> Vec<Option<U>> {
        let meaning = |text: &Spanned<String>| {
            let result = meaning(text.get_ref());
            result.map_err(|why| self.refuse_value(key, text, why)).ok()
        };
        texts.iter().map(meaning).collect()
    }

    /// Takes a list of strings and gives each a meaning; nothing if it is of another type.
    pub fn settings<U, E: Into<ValueError>>(
        &mut self,
        key: &'static str,
        meaning: impl Fn(&str) -> Result<U, E>,
    ) -> Option<Vec<Option<U>>> {
        let texts = self.list(key)?;
        Some(self.meanings(key, &texts, meaning))
    }

    /// Takes a list, which is empty if the key is not there; nothing if it is of another type.
    fn list<T: Shape<'t>>(&mut self, key: &'static str) -> Option<Vec<Spanned<T>>> {
        let absent = !self.contains(key);
        let list = self.value(key).map(Spanned::into_inner);
        list.or_else(|| absent.then(Vec::new))
    }

    /// Takes the name of an object, which must not be among those `taken`; nothing if there is
    /// no valid one.
    pub fn claim_name(
        &mut self,
        taken: &mut BTreeSet<String>,
        kind: &'static str,
    ) -> Option<String> {
        self.require("name", "one of letters, digits, `-` and `_`");
        let name = self.setting("name", |name: &String| setting::name(name))?;
        if !taken.insert(name.clone()) {
            self.refuse(Fault::NameTaken(kind));
        }
        Some(name)
    }

    /// Takes a table, and gives it a meaning.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        meaning: impl FnOnce(&mut Section<'f, 't>) -> T,
    ) -> Option<T> {
        let table = self.value::<DeTable<'t>>(key)?;
        let object = match self.object.strip_prefix('[') {
            Some(parent) => format!("[{}.{key}]", parent.trim_end_matches(']')),
            None if self.object == FILE => format!("[{key}]"),
            None => format!("{}: {key}", self.object),
        };
        Some(Section::new(object, table, self.faults).read(meaning))
    }

    /// Takes a list of tables, each a `kind` of object, and gives each a meaning; nothing if it is
    /// of another type.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        kind: &str,
        mut meaning: impl FnMut(&mut Section<'f, 't>) -> T,
    ) -> Option<Vec<T>> {
        let tables = self.list::<DeTable<'t>>(key)?;
        let sections = tables.into_iter().enumerate().map(|(index, table)| {
            let object = self.child(kind, index + 1, table.get_ref());
            Section::new(object, table, self.faults).read(&mut meaning)
        });
        Some(sections.collect())
    }

    /// As [`Self::tables`], for a table or a list of them, which is empty if the key is not there.
    pub fn one_or_more<T>(
        &mut self,
        key: &'static str,
        kind: &str,
        mut meaning: impl FnMut(&mut Section<'f, 't>) -> T,
    ) -> Option<Vec<T>> {
        let absent = !self.contains(key);
        let tables = self
            .value::<Tables<'t>>(key)
            .map(|value| value.into_inner().0);
        let tables = tables.or_else(|| absent.then(Vec::new))?;
        let sections = tables.into_iter().enumerate().map(|(index, table)| {
            let object = self.child(kind, index + 1, table.get_ref());
            Section::new(object, table, self.faults).read(&mut meaning)
        });
        Some(sections.collect())
    }

    /// Takes a key whose value is of no interest; whether it was there.
    pub fn take(&mut self, key: &str) -> bool {
        self.values.remove(key).is_some()
    }

    /// An object inside this one: by its name if that can be shown, else by its number.
    fn child(&self, kind: &str, number: usize, table: &DeTable) -> String {
        let parent = match self.object.as_str() {
            FILE => String::new(),
            object => format!("{object}: "),
        };
        match table.get("name").map(Spanned::get_ref) {
            Some(DeValue::String(name)) if setting::name(name).is_ok() => {
                format!("{parent}{kind} `{name}`")
            }
            _ => format!("{parent}{kind} {number}"),
        }
    }

    /// What the writer of an unknown key may have meant.
    fn nearest(&self, key: &str) -> String {
        match setting::nearest(key, self.known.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("the keys here are `{}`", self.known.join("`, `")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, refuses};

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        refuses(
            &samples::shop("lisen = []"),
            "line 6, column 1: service `shop` has the unknown key `lisen`; did you mean `listen`?",
        );
    }

    #[test]
    fn an_unknown_key_like_no_other_is_answered_with_all_keys() {
        refuses(
            &format!("{}[api]\nport = 80", samples::NODE),
            "[api] has the unknown key `port`; the keys here are `socket`, `http`",
        );
    }

    #[test]
    fn an_unknown_key_is_found_at_every_depth() {
        refuses(
            "services = 1",
            "the file has the unknown key `services`; did you mean `service`?",
        );
        refuses(
            &samples::shop("").replace("weight", "wieght"),
            "service `shop`: pool `blue`: backend `b1` has the unknown key `wieght`; \
             did you mean `weight`?",
        );
        let prefix = "client_prefix = { v5 = 1 }\n[[service]]";
        refuses(
            &samples::shop("").replacen("[[service]]", prefix, 1),
            "[node.client_prefix] has the unknown key `v5`",
        );
    }

    #[test]
    fn an_unknown_key_with_control_characters_stays_on_one_line() {
        let text = samples::problems(&format!("{}\"a\\nb\" = 1", samples::NODE));
        assert!(text.contains("unknown key `a\\nb`"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_value_of_another_type_is_answered_with_the_right_one() {
        let all = [
            ("drain = 15", "gives `drain` an integer; it takes a string"),
            ("affinity = true", "gives `affinity` a boolean; it takes"),
            ("forward = [\"nat\"]", "gives `forward` an array; it takes"),
            ("active = { a = 1 }", "gives `active` a table; it takes"),
            ("datagram = 1.5", "gives `datagram` a float; it takes"),
            ("connections = 2026-01-01", "gives `connections` a date"),
        ];
        for (line, expected) in all {
            refuses(&samples::shop(line), &format!("service `shop` {expected}"));
        }
    }

    #[test]
    fn a_table_in_the_place_of_a_list_of_tables_is_refused() {
        refuses(
            "[service]\nname = \"shop\"",
            "gives `service` a table; it takes an array of tables",
        );
    }

    #[test]
    fn a_list_of_another_type_is_not_also_called_empty() {
        let listeners = samples::shop("").replace("[\"tcp://192.0.2.80:443\"]", "3");
        let pools = format!("{}[[service]]\nname = \"s\"\npool = 3", samples::NODE);
        let listen = "listen = [\"tcp://192.0.2.80:443\"]";
        let backends = samples::shop("").replacen("backends = [{", "backends = [3, {", 1);
        for text in [listeners, format!("{pools}\n{listen}"), backends] {
            assert_eq!(samples::problems(&text).lines().count(), 1, "{text}");
        }
        let interfaces = "[node]\ninterfaces = \"eth0\"\nhash_seed = \"x\"";
        assert_eq!(samples::problems(interfaces).lines().count(), 1);
    }
}
