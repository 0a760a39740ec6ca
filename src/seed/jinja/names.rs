//! Names that Python's Jinja2 knows: of filters, of tests, and of the methods of its values.
//!
//! Each list is a text with a space between the names.

use minijinja::Value;

use super::python::{Class, class};

/// The filters, whether there are such here or not.
pub(super) const FILTERS: &str = "
    abs attr batch capitalize center count d default dictsort e escape filesizeformat first
    float forceescape format groupby indent int items join last length list lower map max min
    pprint random reject rejectattr replace reverse round safe select selectattr slice sort
    string striptags sum title tojson trim truncate unique upper urlencode urlize wordcount
    wordwrap xmlattr
";

/// The tests.
pub(super) const TESTS: &str = "
    boolean callable defined divisibleby eq equalto escaped even false filter float ge
    greaterthan gt in integer iterable le lessthan lower lt mapping ne none number odd sameas
    sequence string test true undefined upper
";

/// The methods of Python's dicts, which come before any item in `value.name`.
const DICT: &str = "
    clear copy fromkeys get items keys pop popitem setdefault update values
";
/// The same of lists.
const LIST: &str = "
    append clear copy count extend index insert pop remove reverse sort
";
/// The same of strings.
const STR: &str = "
    capitalize casefold center count encode endswith expandtabs find format format_map index
    isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable
    isspace istitle isupper join ljust lower lstrip maketrans partition removeprefix
    removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines
    startswith strip swapcase title translate upper zfill unescape striptags escape
";
/// The same of numbers.
const NUMBER: &str = "
    as_integer_ratio bit_count bit_length conjugate denominator from_bytes fromhex hex imag
    is_integer numerator real to_bytes
";
/// The same of tuples, views, ranges and iterators.
const REST: &str = "
    count index start stop step isdisjoint mapping gi_code gi_frame gi_running gi_yieldfrom
    close send throw
";

/// Whether a name is in a list of names.
pub(super) fn is_in(name: &str, names: &str) -> bool {
    names.split_whitespace().any(|other| other == name)
}

/// Whether Python has something of that name for every value of the class.
pub(super) fn is_method(value: &Value, name: &str) -> bool {
    let names = match class(value) {
        Class::Dict => DICT,
        Class::List => LIST,
        Class::Str => STR,
        Class::Bool | Class::Int | Class::Float => NUMBER,
        Class::Tuple | Class::Range | Class::View | Class::Once => REST,
        Class::Undefined | Class::None | Class::Other => "",
    };
    name.starts_with("__") || is_in(name, names)
}

/// Whether some class of Python's has a method of that name.
pub(super) fn is_name_of_method(name: &str) -> bool {
    let lists = [DICT, LIST, STR, NUMBER, REST];
    name.starts_with("__") || lists.iter().any(|names| is_in(name, names))
}
