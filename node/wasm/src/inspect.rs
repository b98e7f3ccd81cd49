//! A look at a module before anything is compiled: is it what we run, and within the limits?

use std::collections::BTreeSet;

use wasmparser::{BinaryReaderError, Encoding, ExternalKind, Parser, Payload, TypeRef};

use crate::work::Work;
use crate::{CompileError, Settings};

/// Names that the host offers, by module.
pub(crate) type Offered = BTreeSet<(String, String)>;

const PAGE_BYTES: u64 = 64 * 1024;

/// Bytes of a name in a complaint; a module may have names of 100 KB.
const NAME_BYTES_SHOWN: usize = 64;

/// Checks what is cheap to check; whether the code is valid is for the compiler to say.
pub(crate) fn inspect(
    module: &[u8],
    settings: &Settings,
    offered: &Offered,
) -> Result<(), CompileError> {
    at_most("module", module.len() as u64, settings.module_bytes_max, "bytes")?;
    if !module.starts_with(b"\0asm") {
        return Err(CompileError::NotAModule("it does not begin with \\0asm".to_owned()));
    }
    let mut exports = Exports::default();
    let mut work = Work::default();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(not_valid)?;
        work.add(&payload, settings)?;
        check(payload, settings, offered, &mut exports)?;
    }
    exports.check()
}

/// A name of the module's, cut to what a line of a log may hold.
fn shown(name: &str) -> String {
    let end = (0..=NAME_BYTES_SHOWN.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    let cut = &name[..end.unwrap_or(0)];
    if cut.len() == name.len() { cut.to_owned() } else { format!("{cut}…") }
}

fn check(
    payload: Payload<'_>,
    settings: &Settings,
    offered: &Offered,
    exports: &mut Exports,
) -> Result<(), CompileError> {
    match payload {
        Payload::Version { encoding: Encoding::Component, .. } => {
            Err(CompileError::NotAModule("it is a component; a core module is wanted".to_owned()))
        }
        Payload::ImportSection(section) => {
            for import in section.into_imports() {
                let import = import.map_err(not_valid)?;
                let is_function = matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                let name = (import.module.to_owned(), import.name.to_owned());
                if !is_function || !offered.contains(&name) {
                    let (module, name) = (shown(import.module), shown(import.name));
                    return Err(CompileError::Import { module, name });
                }
            }
            Ok(())
        }
        Payload::FunctionSection(section) => {
            let limit = u64::from(settings.functions_max);
            at_most("number of functions", section.count().into(), limit, "")
        }
        Payload::CodeSectionEntry(body) => {
            let limit = u64::from(settings.function_bytes_max);
            at_most("largest function", body.range().len() as u64, limit, "bytes")
        }
        Payload::TableSection(section) => {
            let limit = u64::from(settings.table_elements_max);
            for table in section {
                let initial = table.map_err(not_valid)?.ty.initial;
                at_most("table", initial, limit, "elements")?;
            }
            Ok(())
        }
        Payload::MemorySection(section) => {
            for memory in section {
                let initial = memory.map_err(not_valid)?.initial.saturating_mul(PAGE_BYTES);
                at_most("initial memory", initial, settings.memory_bytes_max, "bytes")?;
            }
            Ok(())
        }
        Payload::ExportSection(section) => {
            for export in section {
                let export = export.map_err(not_valid)?;
                exports.add(export.name, export.kind);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Exports {
    start: bool,
    initialize: bool,
    memory: bool,
}

impl Exports {
    fn add(&mut self, name: &str, kind: ExternalKind) {
        match (name, kind) {
            ("_start", ExternalKind::Func) => self.start = true,
            ("_initialize", ExternalKind::Func) => self.initialize = true,
            ("memory", ExternalKind::Memory) => self.memory = true,
            _ => {}
        }
    }

    fn check(&self) -> Result<(), CompileError> {
        let what = match self {
            Self { start: true, memory: true, .. } => return Ok(()),
            Self { start: true, .. } => "it exports no `memory`",
            Self { initialize: true, .. } => {
                "it exports `_initialize`, as a library does, and no `_start`"
            }
            _ => "it exports no function `_start`",
        };
        Err(CompileError::NotACommand(what.to_owned()))
    }
}

pub(crate) fn at_most(what: &str, is: u64, limit: u64, unit: &str) -> Result<(), CompileError> {
    if is <= limit {
        return Ok(());
    }
    let text = format!("{what} {is} {unit}");
    Err(CompileError::TooLarge(format!("{}, at most {limit} are allowed", text.trim_end())))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn not_valid(error: BinaryReaderError) -> CompileError {
    CompileError::NotAModule(error.to_string())
}
