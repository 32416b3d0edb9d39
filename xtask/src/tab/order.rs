//! The order of functions in the tab's wasm: those that are alike stand together.
//!
//! What is sent is compressed, and gzip finds a repetition only within 32 KiB. Generic code is compiled anew
//! for each type and differs in a few bytes; beside each other such functions cost almost nothing, a megabyte
//! apart they are paid in full. Nothing else changes: the module is the same but for its functions' numbers.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{
    BinaryReader, CodeSectionReader, FunctionBody, FunctionSectionReader, Parser, Payload, TypeRef,
};

/// How far back gzip looks.
const WINDOW_BYTES: usize = 32 * 1024;
/// Two functions share what they have in common in runs of this length.
const RUN_BYTES: usize = 6;
/// A run that is in more functions than this is everywhere, and says nothing of likeness.
const FUNCTIONS_OF_A_RUN_MAX: usize = 200;
/// As if each function had this many runs more that nobody shares: else the shortest come first.
const RUNS_UNSHARED: usize = 8;

/// The same module with like functions side by side.
pub(super) fn by_likeness(wasm: &[u8]) -> Result<Vec<u8>> {
    let (imported, bodies) = functions(wasm)?;
    let contents: Vec<&[u8]> = bodies.iter().map(|body| &wasm[body.clone()]).collect();
    let order = alike(&contents);
    ensure!(order.len() == bodies.len(), "every function has a place");
    let mut numbers = vec![0; order.len()];
    for (number, function) in (imported..).zip(&order) {
        numbers[*function] = number;
    }
    let bodies = order.iter().map(|function| bodies[*function].clone()).collect();
    let mut module = Module::new();
    let mut reordering = Reordering { wasm, imported, numbers, order, bodies };
    utils::parse_core_module(&mut reordering, &mut module, Parser::new(0), wasm)
        .context("reordering the wasm")?;
    let reordered = module.finish();
    wasmparser::validate(&reordered).context("the reordered wasm")?;
    Ok(reordered)
}

/// How many functions are imported, and where the bodies of the others are.
fn functions(wasm: &[u8]) -> Result<(u32, Vec<Range<usize>>)> {
    let mut imported = 0;
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body.range()),
            _ => {}
        }
    }
    Ok((imported, bodies))
}

/// One after the other, always the function of which most is among those just before it.
fn alike(functions: &[&[u8]]) -> Vec<usize> {
    let mut numbers = BTreeMap::new();
    let runs: Vec<Vec<usize>> = functions
        .iter()
        .map(|function| {
            let numbered = function.windows(RUN_BYTES).map(|run| {
                let next = numbers.len();
                *numbers.entry(run).or_insert(next)
            });
            let mut runs: Vec<usize> = numbered.collect();
            runs.sort_unstable();
            runs.dedup();
            runs
        })
        .collect();
    let mut functions_of = vec![Vec::new(); numbers.len()];
    for (function, runs) in runs.iter().enumerate() {
        for run in runs {
            functions_of[*run].push(function);
        }
    }
    functions_of.iter_mut().filter(|of| of.len() > FUNCTIONS_OF_A_RUN_MAX).for_each(Vec::clear);

    let mut left: Vec<usize> = (0..functions.len()).collect();
    let mut order = Vec::new();
    let mut window = VecDeque::new();
    let mut window_bytes = 0;
    let mut in_window = vec![0_u32; numbers.len()];
    let mut shared = vec![0_usize; functions.len()];
    // The largest begins: nothing before it could make it smaller.
    let mut next = left.iter().copied().max_by_key(|function| functions[*function].len());
    while let Some(function) = next {
        left.retain(|other| *other != function);
        order.push(function);
        window.push_back(function);
        window_bytes += functions[function].len();
        for run in &runs[function] {
            in_window[*run] += 1;
            if in_window[*run] == 1 {
                functions_of[*run].iter().for_each(|of| shared[*of] += 1);
            }
        }
        while window_bytes > WINDOW_BYTES && window.len() > 1 {
            let Some(gone) = window.pop_front() else { break };
            window_bytes -= functions[gone].len();
            for run in &runs[gone] {
                in_window[*run] -= 1;
                if in_window[*run] == 0 {
                    functions_of[*run].iter().for_each(|of| shared[*of] -= 1);
                }
            }
        }
        // By cross-multiplication, so that no rounding decides.
        let part = |function: usize| (shared[function], runs[function].len() + RUNS_UNSHARED);
        next = left.iter().copied().reduce(|best, other| {
            let ((a, all), (b, of)) = (part(best), part(other));
            if b * all > a * of { other } else { best }
        });
    }
    order
}

struct Reordering<'a> {
    wasm: &'a [u8],
    imported: u32,
    /// A function's new number, by its place in the old order.
    numbers: Vec<u32>,
    /// Places in the old order, in the new one.
    order: Vec<usize>,
    /// Where the bodies are, in the new order.
    bodies: Vec<Range<usize>>,
}

impl Reencode for Reordering<'_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        let own = function.checked_sub(self.imported);
        Ok(own.map_or(function, |own| self.numbers[own as usize]))
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let types = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for function in &self.order {
            functions.function(types[*function]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        _: CodeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        for body in self.bodies.clone() {
            let body = FunctionBody::new(BinaryReader::new(&self.wasm[body.clone()], body.start));
            self.parse_function_body(code, body)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_functions_stand_together_and_every_function_once() {
        let family = |from: u8| (from..from + 60).collect::<Vec<u8>>();
        let kin = |of: &[u8], tail: u8| [of, &[tail; 3][..]].concat();
        let (a, b) = (family(0), family(100));
        let functions = [kin(&a, 201), kin(&b, 202), kin(&a, 203), kin(&b, 204), [&a[..], &a[..]].concat()];
        let order = alike(&functions.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(order, [4, 0, 2, 1, 3]);
    }

    /// `small` calls the import, and is what the module exports; `large` calls `small`.
    fn small_then_large() -> Vec<u8> {
        use wasm_encoder::{
            EntityType, ExportKind, ExportSection, Function, ImportSection, Instruction, TypeSection,
        };
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut imports = ImportSection::new();
        imports.import("page", "call", EntityType::Function(0));
        let mut functions = FunctionSection::new();
        functions.function(0).function(0);
        let mut exports = ExportSection::new();
        exports.export("small", ExportKind::Func, 1);
        let mut code = CodeSection::new();
        for (target, calls) in [(0, 1), (1, 40)] {
            let mut function = Function::new([]);
            for _ in 0..calls {
                function.instruction(&Instruction::Call(target));
            }
            function.instruction(&Instruction::End);
            code.function(&function);
        }
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
        module.finish()
    }

    #[test]
    fn what_called_and_exported_a_function_still_does() {
        let reordered = by_likeness(&small_then_large()).unwrap();
        let (imported, bodies) = functions(&reordered).unwrap();
        assert_eq!((imported, bodies.len()), (1, 2));
        let calls: Vec<Vec<u32>> = bodies
            .iter()
            .map(|body| {
                let body = FunctionBody::new(BinaryReader::new(&reordered[body.clone()], body.start));
                let operators = body.get_operators_reader().unwrap().into_iter().map(Result::unwrap);
                operators
                    .filter_map(|operator| match operator {
                        wasmparser::Operator::Call { function_index } => Some(function_index),
                        _ => None,
                    })
                    .collect()
            })
            .collect();
        // The largest stands first now: what it calls is the second, which calls the import.
        assert_eq!(calls, [vec![2; 40], vec![0]]);
        let exported = Parser::new(0).parse_all(&reordered).find_map(|payload| match payload.unwrap() {
            Payload::ExportSection(exports) => exports.into_iter().next(),
            _ => None,
        });
        assert_eq!(exported.unwrap().unwrap().index, 2);
    }
}
