//! How much work a module will make for the compiler, beyond what its size bounds.
//!
//! Where control flow splits or joins, every local may have to be carried along, and each that is
//! takes the compiler time and memory: their product is what a small function can make large. Loops
//! in loops are analysed for each loop around them, and a call or block of a type with a thousand
//! results is two bytes long, so those count, too.

use wasmparser::{
    BinaryReaderError, BlockType, CompositeInnerType, FunctionBody, Operator, Payload, TypeRef,
};

use crate::inspect::{at_most, not_valid};
use crate::{CompileError, Settings};

/// What a walk through a module has found so far.
#[derive(Default)]
pub(crate) struct Work {
    /// Of each type, if it is a function's.
    types: Vec<Arity>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    /// The function whose body comes next.
    next: usize,
    total: u64,
}

#[derive(Clone, Copy, Default)]
struct Arity {
    params: u64,
    results: u64,
}

impl Arity {
    fn sum(self) -> u64 {
        self.params + self.results
    }
}

impl Work {
    /// Counts in what a payload has, or says which limit it is over.
    pub(crate) fn add(
        &mut self,
        payload: &Payload<'_>,
        settings: &Settings,
    ) -> Result<(), CompileError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for ty in group.map_err(not_valid)?.into_types() {
                        self.types.push(match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Arity {
                                params: ty.params().len() as u64,
                                results: ty.results().len() as u64,
                            },
                            _ => Arity::default(),
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if let TypeRef::Func(ty) = import.map_err(not_valid)?.ty {
                        self.functions.push(ty);
                    }
                }
                self.next = self.functions.len();
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    self.functions.push(ty.map_err(not_valid)?);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let work = self.of(body).map_err(not_valid)?;
                let what = format!("work to compile function {}", self.next);
                at_most(&what, work, settings.function_work_max, "")?;
                self.next += 1;
                self.total = self.total.saturating_add(work);
                at_most("work to compile it", self.total, settings.module_work_max, "")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn of(&self, body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
        let mut locals = self.called(self.next as u32).params;
        for group in body.get_locals_reader()? {
            let (count, _) = group?;
            locals += u64::from(count);
        }
        let (mut branches, mut carried, mut widest) = (1_u64, 0_u64, 0_u64);
        // Whether each block around is a loop.
        let (mut around, mut loops) = (Vec::new(), 0_u64);
        for operator in body.get_operators_reader()? {
            let here = match operator? {
                Operator::Block { blockty } | Operator::If { blockty } => {
                    widest = widest.max(self.block(blockty));
                    around.push(false);
                    1
                }
                Operator::Loop { blockty } => {
                    widest = widest.max(self.block(blockty));
                    around.push(true);
                    loops += 1;
                    1
                }
                Operator::End => {
                    loops -= u64::from(around.pop() == Some(true));
                    0
                }
                Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } => 1,
                Operator::BrTable { targets } => u64::from(targets.len()) + 1,
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    carried += self.called(function_index).sum();
                    0
                }
                Operator::CallIndirect { type_index, .. }
                | Operator::ReturnCallIndirect { type_index, .. } => {
                    carried += self.arity(type_index).sum();
                    0
                }
                _ => 0,
            };
            branches += here;
            carried += here * loops;
        }
        Ok((locals + widest).saturating_mul(branches).saturating_add(carried))
    }

    /// Of a type that there may not be: then the module is not valid, which the compiler says.
    fn arity(&self, ty: u32) -> Arity {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }

    fn called(&self, function: u32) -> Arity {
        self.functions.get(function as usize).map_or(Arity::default(), |ty| self.arity(*ty))
    }

    fn block(&self, ty: BlockType) -> u64 {
        match ty {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(ty) => self.arity(ty).sum(),
        }
    }
}
