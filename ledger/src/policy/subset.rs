//! The part of Rego that policies may be written in.
//!
//! A package `bizra.policy` of rules without arguments. A rule is a constant, or
//! is made of constants (`allow if …`, `reasons contains "…" if …`), so nothing
//! is computed but which rules hold. Bodies may compare, assign, negate, test
//! membership, and go through collections with `some … in` and `every`; they may
//! call [`BUILTINS`]. A constant is a string, a boolean, an integer, or an array
//! or set of these.
//!
//! There is no arithmetic, so no floating point and no number that grows; no
//! comprehension, function, object, union or composed value, so every value is
//! a part of the text or of the input, and one instruction of the engine takes
//! time within their size; no `data`, `import`, `with` or other package, so
//! there is nothing but the input to depend on. Rules do not need each other in a
//! circle.
//!
//! It is checked twice. [`check_text`] refuses, before anything reads it, what
//! could make a recursive reader run out of stack; [`check_tree`] goes through
//! the tree that the engine has read, by a list of what is allowed.

use alloc::collections::{BTreeMap, BTreeSet};
use bizra_types::json::{self, Limits, Value};

/// Largest text, in bytes.
pub const POLICY_SIZE_MAX: usize = 16_384;

/// Most rules of a policy. Rules that need each other are evaluated recursively.
pub const RULES_MAX: usize = 64;

/// Most brackets within each other.
const DEPTH_MAX: usize = 8;

/// Most tokens in a row at one depth, without a comma or the end of a statement.
const RUN_MAX: usize = 48;

/// Most digits of a number, so that it is the same in every arithmetic.
const NUMBER_DIGITS_MAX: usize = 15;

/// What policies may call: pure, linear in their arguments, and with results that are not
/// larger.
pub const BUILTINS: [&str; 4] = ["contains", "count", "endswith", "startswith"];

/// Checks a text before it is parsed.
///
/// # Errors
/// What is wrong with it.
pub fn check_text(text: &str) -> Result<(), String> {
    if text.len() > POLICY_SIZE_MAX {
        return Err(format!("has {} bytes, where {POLICY_SIZE_MAX} are allowed", text.len()));
    }
    if let Some(unseen) = text.chars().find(|it| is_unseen(*it)) {
        return Err(format!("has the character {}, which nobody sees", unseen.escape_unicode()));
    }
    // Tokens since the last separator, at each depth.
    let mut runs = vec![0_usize];
    let mut is_open = false;
    for (line, text) in (1..).zip(text.lines()) {
        let tokens = tokens(text).map_err(|detail| format!("line {line} {detail}"))?;
        let run = runs.last_mut().expect("the outermost depth stays");
        if !is_open && tokens.first().is_some_and(|token| token.begins_statement()) {
            *run = 0;
        }
        if let Some(last) = tokens.last() {
            is_open = !last.ends_statement();
        }
        for token in tokens {
            match token {
                Token::Sign('[' | '(' | '{') => runs.push(0),
                Token::Sign(']' | ')' | '}') => {
                    if runs.len() == 1 {
                        return Err(format!("line {line} closes a bracket that is not open"));
                    }
                    runs.pop();
                }
                _ => {}
            }
            let run = runs.last_mut().expect("the outermost depth stays");
            *run = if token == Token::Sign(',') { 0 } else { *run + 1 };
            if runs.len() > DEPTH_MAX + 1 {
                return Err(format!("line {line} nests more than {DEPTH_MAX} brackets"));
            }
            if runs.last().is_some_and(|run| *run > RUN_MAX) {
                return Err(format!("line {line} has a statement of more than {RUN_MAX} parts"));
            }
        }
    }
    Ok(())
}

/// Checks the tree of a text as the engine writes it in JSON.
///
/// # Errors
/// What is not allowed.
pub fn check_tree(tree: &str) -> Result<(), String> {
    let limits = Limits { size_max: 64 << 20, depth_max: 512 };
    let tree = json::parse(tree.as_bytes(), limits).map_err(|error| error.to_string())?;
    let [source] = items(&tree)? else { return refuse("more than one module") };
    let module = member(source, "ast")?;
    if path(member(member(module, "package")?, "refr")?)? != ["bizra", "policy"] {
        return refuse("another package than `bizra.policy`");
    }
    for import in items(member(module, "imports")?)? {
        if path(member(import, "refr")?)? != ["rego", "v1"] {
            return refuse("an import");
        }
    }
    let rules = items(member(module, "rules")?)?;
    if rules.len() > RULES_MAX {
        return refuse(&format!("more than {RULES_MAX} rules"));
    }
    rules.iter().try_for_each(check_rule)?;
    check_order(rules)
}

/// That no rule needs itself: the engine would follow the circle until its stack ends. A variable
/// with the name of a rule counts as the rule.
fn check_order(rules: &[Value]) -> Result<(), String> {
    let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        let (kind, inner) = variant(rule)?;
        let head = if kind == "Default" { inner } else { variant(member(inner, "head")?)?.1 };
        let [name] = path(member(head, "refr")?)?[..] else { return refuse("a composed name") };
        let needed = needs.entry(name).or_default();
        if kind != "Default" {
            collect_names(member(inner, "bodies")?, needed);
        }
    }
    let names: BTreeSet<&str> = needs.keys().copied().collect();
    needs.values_mut().for_each(|needed| needed.retain(|name| names.contains(name)));
    while !needs.is_empty() {
        let ready: Vec<&str> =
            needs.iter().filter(|(_, needed)| needed.is_empty()).map(|(name, _)| *name).collect();
        if ready.is_empty() {
            let circle: Vec<&str> = needs.keys().copied().collect();
            return refuse(&format!("a circle of rules, among {}", circle.join(", ")));
        }
        needs.retain(|name, _| !ready.contains(name));
        needs.values_mut().for_each(|needed| needed.retain(|name| !ready.contains(name)));
    }
    Ok(())
}

/// Every name that stands for a value in a part of the tree.
fn collect_names<'a>(node: &'a Value, names: &mut BTreeSet<&'a str>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Object(members) => {
            for (name, value) in members.iter() {
                if let ("Var", Ok(variable)) = (name, member(value, "value").and_then(text)) {
                    names.insert(variable);
                }
                collect_names(value, names);
            }
        }
        _ => {}
    }
}

fn check_rule(rule: &Value) -> Result<(), String> {
    let (kind, rule) = variant(rule)?;
    if kind == "Default" {
        check_no_items(rule, "args", "a function")?;
        check_name(member(rule, "refr")?)?;
        return check_constant(member(rule, "value")?);
    }
    let (kind, head) = variant(member(rule, "head")?)?;
    match kind {
        "Compr" => {
            check_name(member(head, "refr")?)?;
            check_assigned(head)?;
        }
        "Set" => {
            check_name(member(head, "refr")?)?;
            check_scalar(member(head, "key")?)?;
        }
        _ => return refuse("a function"),
    }
    for body in items(member(rule, "bodies")?)? {
        check_assigned(body)?;
        check_query(member(body, "query")?)?;
    }
    Ok(())
}

/// The constant that a rule or its `else` gives, if it does.
fn check_assigned(rule: &Value) -> Result<(), String> {
    match member(rule, "assign")? {
        Value::Null => Ok(()),
        assigned => check_constant(member(assigned, "value")?),
    }
}

fn check_query(query: &Value) -> Result<(), String> {
    for statement in items(member(query, "stmts")?)? {
        check_no_items(statement, "with_mods", "`with`")?;
        let (kind, literal) = variant(member(statement, "literal")?)?;
        match kind {
            "Expr" | "NotExpr" => check_expression(member(literal, "expr")?)?,
            "SomeIn" => {
                check_no_key(literal)?;
                check_name(member(literal, "value")?)?;
                check_expression(member(literal, "collection")?)?;
            }
            "Every" => {
                check_no_key(literal)?;
                check_expression(member(literal, "domain")?)?;
                check_query(member(literal, "query")?)?;
            }
            other => return refuse(&format!("a statement of the kind {other}")),
        }
    }
    Ok(())
}

fn check_expression(expression: &Value) -> Result<(), String> {
    let (kind, inner) = variant(expression)?;
    match kind {
        "String" | "Bool" | "Number" | "Array" | "Set" => check_constant(expression),
        "Var" => check_name(expression),
        "RefDot" => check_expression(member(inner, "refr")?),
        "RefBrack" => {
            check_expression(member(inner, "refr")?)?;
            let index = member(inner, "index")?;
            check_name(index).or_else(|_| check_scalar(index))
        }
        "Call" => {
            let name = path(member(inner, "fcn")?)?.join(".");
            if !BUILTINS.contains(&name.as_str()) {
                return refuse(&format!("a call of `{name}`"));
            }
            items(member(inner, "params")?)?.iter().try_for_each(check_expression)
        }
        "BoolExpr" => {
            check_expression(member(inner, "lhs")?)?;
            check_expression(member(inner, "rhs")?)
        }
        "AssignExpr" => {
            check_name(member(inner, "lhs")?)?;
            check_expression(member(inner, "rhs")?)
        }
        "Membership" => {
            check_no_key(inner)?;
            check_expression(member(inner, "value")?)?;
            check_expression(member(inner, "collection")?)
        }
        other => refuse(&format!("an expression of the kind {other}")),
    }
}

fn check_constant(expression: &Value) -> Result<(), String> {
    match variant(expression)? {
        ("Array" | "Set", inner) => {
            items(member(inner, "items")?)?.iter().try_for_each(check_scalar)
        }
        _ => check_scalar(expression),
    }
}

fn check_scalar(expression: &Value) -> Result<(), String> {
    match variant(expression)? {
        ("String" | "Bool", _) => Ok(()),
        ("Number", inner) => match member(inner, "value")? {
            Value::Number(number) if number.as_unsigned().is_some() => Ok(()),
            _ => refuse("a number that is no natural one"),
        },
        (other, _) => refuse(&format!("{other} where a constant is wanted")),
    }
}

/// A plain name, of a rule, a variable or the input.
fn check_name(expression: &Value) -> Result<(), String> {
    match variant(expression)? {
        ("Var", inner) if text(member(inner, "value")?)? == "data" => refuse("`data`"),
        ("Var", _) => Ok(()),
        (other, _) => refuse(&format!("{other} where a name is wanted")),
    }
}

fn check_no_key(node: &Value) -> Result<(), String> {
    match member(node, "key")? {
        Value::Null => Ok(()),
        _ => refuse("a loop over keys"),
    }
}

/// A list that may not be there, and is empty if it is.
fn check_no_items(node: &Value, name: &str, what: &str) -> Result<(), String> {
    let Value::Object(members) = node else { return refuse("a node of an unknown form") };
    match members.get(name) {
        None => Ok(()),
        Some(list) if items(list)?.is_empty() => Ok(()),
        Some(_) => refuse(what),
    }
}

/// The names of `a.b.c`.
fn path(expression: &Value) -> Result<Vec<&str>, String> {
    match variant(expression)? {
        ("Var", inner) => Ok(vec![text(member(inner, "value")?)?]),
        ("RefDot", inner) => {
            let mut names = path(member(inner, "refr")?)?;
            let [_, field] = items(member(inner, "field")?)? else {
                return refuse("a node of an unknown form");
            };
            names.push(text(field)?);
            Ok(names)
        }
        (other, _) => refuse(&format!("{other} where a name is wanted")),
    }
}

/// The kind of a node and what it holds.
fn variant(node: &Value) -> Result<(&str, &Value), String> {
    let Value::Object(members) = node else { return refuse("a node of an unknown form") };
    let mut members = members.iter();
    match (members.next(), members.next()) {
        (Some(member), None) => Ok(member),
        _ => refuse("a node of an unknown form"),
    }
}

fn member<'a>(node: &'a Value, name: &str) -> Result<&'a Value, String> {
    let found = match node {
        Value::Object(members) => members.get(name),
        _ => None,
    };
    found.map_or_else(|| refuse("a node of an unknown form"), Ok)
}

fn items(node: &Value) -> Result<&[Value], String> {
    match node {
        Value::Array(items) => Ok(items),
        _ => refuse("a node of an unknown form"),
    }
}

fn text(node: &Value) -> Result<&str, String> {
    match node {
        Value::String(text) => Ok(text),
        _ => refuse("a node of an unknown form"),
    }
}

fn refuse<T>(what: &str) -> Result<T, String> {
    Err(format!("{what} is not allowed in a policy"))
}

/// As much of a token as decides where a statement may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A name or a number.
    Word,
    /// A name that stands before expressions.
    Prefix,
    /// A name that stands between them.
    Infix,
    /// A string.
    Text,
    /// Any other character.
    Sign(char),
}

impl Token {
    fn of_word(word: &str) -> Self {
        match word {
            "default" | "every" | "import" | "not" | "package" | "some" => Self::Prefix,
            "as" | "contains" | "else" | "if" | "in" | "with" => Self::Infix,
            _ => Self::Word,
        }
    }

    /// Whether a new statement may begin with it.
    const fn begins_statement(self) -> bool {
        matches!(self, Self::Word | Self::Prefix | Self::Text | Self::Sign('}'))
    }

    /// Whether a statement may end with it.
    const fn ends_statement(self) -> bool {
        matches!(self, Self::Word | Self::Text | Self::Sign(']' | ')' | '}' | '{' | ',' | '['))
    }
}

/// Whether a character could make a text another one than it looks, comments included: some end
/// a comment or the text for one engine and not for another, and some turn the order around.
fn is_unseen(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    );
    turns || character.is_control() && !matches!(character, '\t' | '\n')
}

/// The tokens of a line. Strings end where they begin.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => break,
            '"' => {
                tokens.push(Token::Text);
                string_length(rest).ok_or_else(|| "has a string that does not end".to_owned())?
            }
            '0'..='9' => {
                let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.');
                let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
                let is_natural = rest[..length].bytes().all(|byte| byte.is_ascii_digit());
                if !is_natural || length > NUMBER_DIGITS_MAX {
                    return Err(format!("has {}, which is no natural number", &rest[..length]));
                }
                tokens.push(Token::Word);
                length
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
                let length = rest.find(|it| !is_word(it)).unwrap_or(rest.len());
                tokens.push(Token::of_word(&rest[..length]));
                length
            }
            '.' | ',' | ':' | '=' | '<' | '>' | '!' | '(' | ')' | '[' | ']' | '{' | '}' => {
                tokens.push(Token::Sign(first));
                1
            }
            other => return Err(format!("has {other:?}, which is not allowed in a policy")),
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Bytes of the string at the beginning of a text.
fn string_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
