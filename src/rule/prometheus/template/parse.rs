//! From tokens to a tree.

use super::lex::{Piece, Token, TokenKind, lex};
use super::{TemplateError, function};

/// How deep blocks and parentheses may stand in each other.
const MAX_DEPTH: usize = 50;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    /// Conditions with what they guard, and what stands under `else`.
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// The variables are new, and not changed.
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Function(&'static str),
    Dot,
    Nil,
    Fields(Vec<String>),
    Variable(String, Vec<String>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Inner(Box<Pipeline>, Vec<String>),
}

/// Variables that are there from the start.
pub(super) const GIVEN: [&str; 5] = ["", "labels", "externalLabels", "externalURL", "value"];

const KEYWORDS: [&str; 10] = ["if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"];

pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = lex(text)?;
    let variables = GIVEN.map(str::to_string).to_vec();
    let mut parser = Parser { pieces: pieces.into_iter(), variables, depth: 0, loops: 0, end: text.len() };
    match parser.block()? {
        (nodes, None) => Ok(nodes),
        (_, Some(end)) => Err(end.error("`end` or `else` without a beginning")),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
    end: usize,
}

/// What ended a block: `end`, or `else` with what follows it.
struct End {
    action: Action,
    is_else: bool,
}

impl End {
    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError { message: message.into(), at: self.action.from..self.action.to }
    }
}

/// The tokens of an action that are not read yet.
struct Action {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    from: usize,
    to: usize,
}

impl Action {
    fn peek(&mut self) -> Option<&TokenKind> {
        self.tokens.peek().map(|t| &t.kind)
    }

    fn word(&mut self) -> Option<String> {
        match self.peek() {
            Some(TokenKind::Word(word)) => Some(word.clone()),
            _ => None,
        }
    }

    /// An error at the next token, or at the whole where there is none.
    fn error(&mut self, message: impl Into<String>) -> TemplateError {
        let at = self.tokens.peek().map_or(self.from..self.to, |t| t.at..t.end);
        TemplateError { message: message.into(), at }
    }

    fn finish(mut self) -> Result<(), TemplateError> {
        if self.tokens.peek().is_some() { Err(self.error("nothing may follow here")) } else { Ok(()) }
    }
}

impl Parser {
    /// Nodes up to `end` or `else`, or to the end of the text.
    fn block(&mut self) -> Result<(Vec<Node>, Option<End>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, from, to) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, from, to) => (tokens, from, to),
            };
            let mut action = Action { tokens: tokens.into_iter().peekable(), from, to };
            let keyword = action.word().filter(|w| KEYWORDS.contains(&w.as_str()));
            if keyword.is_some() {
                action.tokens.next();
            }
            match keyword.as_deref() {
                Some("end") => {
                    action.finish()?;
                    let action = Action { tokens: Vec::new().into_iter().peekable(), from, to };
                    return Ok((nodes, Some(End { action, is_else: false })));
                }
                Some("else") => return Ok((nodes, Some(End { action, is_else: true }))),
                Some("if") => nodes.push(self.conditional(action)?),
                Some("range") => nodes.push(self.scoped(action, true)?),
                Some("with") => nodes.push(self.scoped(action, false)?),
                Some(word @ ("break" | "continue")) => {
                    if self.loops == 0 {
                        return Err(TemplateError { message: format!("`{word}` outside of `range`"), at: from..to });
                    }
                    action.finish()?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                Some(word) => {
                    return Err(TemplateError { message: format!("`{word}` is not supported here"), at: from..to });
                }
                None => nodes.push(Node::Action(self.whole(action)?)),
            }
        }
        Ok((nodes, None))
    }

    fn conditional(&mut self, action: Action) -> Result<Node, TemplateError> {
        let scope = self.enter(&action)?;
        let (mut branches, mut otherwise) = (Vec::new(), Vec::new());
        let mut action = Some(action);
        while let Some(this) = action.take() {
            let condition = self.whole(this)?;
            let (body, end) = self.block()?;
            branches.push((condition, body));
            let mut end = self.ended(end)?;
            if end.is_else {
                if end.action.word().as_deref() == Some("if") {
                    end.action.tokens.next();
                    action = Some(end.action);
                } else {
                    otherwise = self.last(end)?;
                }
            }
        }
        self.leave(scope);
        Ok(Node::If(branches, otherwise))
    }

    fn scoped(&mut self, action: Action, is_range: bool) -> Result<Node, TemplateError> {
        let scope = self.enter(&action)?;
        let pipeline = self.whole(action)?;
        self.loops += usize::from(is_range);
        let (body, end) = self.block()?;
        self.loops -= usize::from(is_range);
        let end = self.ended(end)?;
        let otherwise = if end.is_else { self.last(end)? } else { Vec::new() };
        self.leave(scope);
        Ok(if is_range { Node::Range(pipeline, body, otherwise) } else { Node::With(pipeline, body, otherwise) })
    }

    /// What stands under the last `else`.
    fn last(&mut self, end: End) -> Result<Vec<Node>, TemplateError> {
        end.action.finish()?;
        let (body, end) = self.block()?;
        let end = self.ended(end)?;
        if end.is_else { Err(end.error("a second `else`")) } else { Ok(body) }
    }

    fn ended(&self, end: Option<End>) -> Result<End, TemplateError> {
        end.ok_or_else(|| TemplateError { message: "an `end` is missing".into(), at: self.end..self.end })
    }

    fn enter(&mut self, action: &Action) -> Result<usize, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} deep");
            return Err(TemplateError { message, at: action.from..action.to });
        }
        Ok(self.variables.len())
    }

    fn leave(&mut self, scope: usize) {
        self.depth -= 1;
        self.variables.truncate(scope);
    }

    fn whole(&mut self, mut action: Action) -> Result<Pipeline, TemplateError> {
        let pipeline = self.pipeline(&mut action, true)?;
        action.finish()?;
        Ok(pipeline)
    }

    fn pipeline(&mut self, action: &mut Action, may_declare: bool) -> Result<Pipeline, TemplateError> {
        let (variables, declares) = if may_declare { declaration(action)? } else { (Vec::new(), false) };
        if !declares && let Some(name) = variables.iter().find(|name| !self.variables.contains(name)) {
            return Err(action.error(format!("there is no variable ${name}")));
        }
        let mut commands = Vec::new();
        loop {
            let command = self.command(action)?;
            if command.is_empty() {
                return Err(action.error("a value is missing"));
            }
            let is_value = !matches!(command[0], Operand::Function(_) | Operand::Fields(_) | Operand::Variable(..));
            if (is_value && (command.len() > 1 || !commands.is_empty())) || matches!(command[..], [Operand::Nil]) {
                return Err(action.error("only a function takes values"));
            }
            commands.push(command);
            if action.peek() != Some(&TokenKind::Pipe) {
                break;
            }
            action.tokens.next();
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    fn command(&mut self, action: &mut Action) -> Result<Vec<Operand>, TemplateError> {
        let mut operands: Vec<Operand> = Vec::new();
        let mut before: Option<usize> = None;
        while let Some(token) = action.tokens.peek() {
            if matches!(token.kind, TokenKind::Pipe | TokenKind::Close) {
                break;
            }
            if before.is_some_and(|end| end == token.at) && !matches!(token.kind, TokenKind::Field(_)) {
                return Err(action.error("a blank is missing"));
            }
            let (operand, end) = self.operand(action)?;
            operands.push(operand);
            before = Some(end);
        }
        Ok(operands)
    }

    /// One value with the fields behind it, and where it ends.
    fn operand(&mut self, action: &mut Action) -> Result<(Operand, usize), TemplateError> {
        let Some(token) = action.tokens.next() else { return Err(action.error("a value is missing")) };
        let wrong = |message: String| TemplateError { message, at: token.at..token.end };
        let mut end = token.end;
        let operand = match token.kind {
            TokenKind::Word(word) => match word.as_str() {
                "true" | "false" => Operand::Bool(word == "true"),
                "nil" => Operand::Nil,
                _ => match function::known(&word) {
                    Some(name) => Operand::Function(name),
                    None => return Err(wrong(unknown_function(&word))),
                },
            },
            TokenKind::Field(name) => Operand::Fields(fields(Some(name), action, &mut end)),
            TokenKind::Variable(name) if !self.variables.contains(&name) => {
                return Err(wrong(format!("there is no variable ${name}")));
            }
            TokenKind::Variable(name) => Operand::Variable(name, fields(None, action, &mut end)),
            TokenKind::Dot => Operand::Dot,
            TokenKind::Int(n) => Operand::Int(n),
            TokenKind::Float(n) => Operand::Float(n),
            TokenKind::Text(text) => Operand::Text(text),
            TokenKind::Open => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(wrong(format!("more than {MAX_DEPTH} deep")));
                }
                let inner = self.pipeline(action, false)?;
                self.depth -= 1;
                match action.tokens.next() {
                    Some(Token { kind: TokenKind::Close, end: closed, .. }) => end = closed,
                    _ => return Err(wrong("`(` is not closed".into())),
                }
                Operand::Inner(Box::new(inner), fields(None, action, &mut end))
            }
            TokenKind::Pipe | TokenKind::Close | TokenKind::Comma | TokenKind::Declare | TokenKind::Assign => {
                return Err(wrong("a value is missing here".into()));
            }
        };
        Ok((operand, end))
    }
}

fn unknown_function(word: &str) -> String {
    match crate::base::table::nearest(word, &function::NAMES) {
        Some(near) => format!("there is no function `{word}`; did you mean `{near}`?"),
        None => format!("there is no function `{word}`"),
    }
}

/// `$x :=`, `$i, $x :=`, `$x =`; nothing is read where there is none.
fn declaration(action: &mut Action) -> Result<(Vec<String>, bool), TemplateError> {
    let mut ahead = action.tokens.clone();
    let mut names = Vec::new();
    loop {
        let Some(Token { kind: TokenKind::Variable(name), .. }) = ahead.next() else { return Ok((Vec::new(), false)) };
        names.push(name);
        match ahead.next().map(|t| t.kind) {
            Some(TokenKind::Comma) if names.len() < 2 => {}
            Some(kind @ (TokenKind::Declare | TokenKind::Assign)) => {
                action.tokens = ahead;
                return Ok((names, kind == TokenKind::Declare));
            }
            Some(TokenKind::Comma) => return Err(action.error("at most two variables")),
            _ => return Ok((Vec::new(), false)),
        }
    }
}

/// The fields that follow without a blank.
fn fields(first: Option<String>, action: &mut Action, end: &mut usize) -> Vec<String> {
    let mut all: Vec<String> = first.into_iter().collect();
    while let Some(Token { kind: TokenKind::Field(name), spaced: false, end: to, .. }) = action.tokens.peek() {
        all.push(name.clone());
        *end = *to;
        action.tokens.next();
    }
    all
}
