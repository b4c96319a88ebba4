//! The engine as its author writes it, and the panic guard around it.

use crate::engine::{self, Engine_TO, EngineBox, Model_TO, ModelBox, RunRequest};
use crate::program::Program;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use qp_abi::guard::catch;
use qp_abi::sdk::boundary::Guarded;
use qp_abi::sdk::{BackendError, Pair, Progress, Result, RunReport, Sink, TensorView};
use qp_abi::sink::{ProgressRef, TensorSinkMut};

/// See [`crate::engine::Engine`] for the contract of each method.
pub trait Engine: Sized + Send + Sync + 'static {
    /// The models.
    type Model: Model;

    /// Sets libtorch up.
    fn create() -> Result<Self>;

    /// Loads a TorchScript archive.
    fn load(&self, path: &str, options: &[Pair], progress: &Progress<'_>) -> Result<Self::Model>;

    /// Builds a model from a program and its stored tensors.
    fn prepare(
        &self,
        program: &Program,
        stored: &[TensorView<'_>],
        options: &[Pair],
        progress: &Progress<'_>,
    ) -> Result<Self::Model>;
}

/// See [`crate::engine::Model`] for the contract of each method.
pub trait Model: Send + Sync + 'static {
    /// The values that a run can capture.
    fn values(&self) -> Vec<RString>;

    /// What each value took in the last run with the option `profile`.
    fn times(&self) -> Vec<u64>;

    /// Runs the model.
    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport>;
}

struct Entry<T>(Guarded<T>);

/// The `create` entry of the engine `E`.
pub extern "C" fn create<E: Engine>() -> RResult<EngineBox, BackendError> {
    catch(|| Ok(Engine_TO::from_value(Entry(Guarded::new(E::create()?)), TD_Opaque))).into()
}

fn model_object<M: Model>(model: M) -> ModelBox {
    Model_TO::from_value(Entry(Guarded::new(model)), TD_Opaque)
}

impl<E: Engine> engine::Engine for Entry<E> {
    fn load(
        &self,
        path: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError> {
        catch(|| self.0.load(path.as_str(), options.as_slice(), &Progress::new(progress)).map(model_object))
            .into()
    }

    fn prepare(
        &self,
        program: &Program,
        stored: RSlice<'_, TensorView<'_>>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError> {
        catch(|| {
            let progress = Progress::new(progress);
            self.0.prepare(program, stored.as_slice(), options.as_slice(), &progress).map(model_object)
        })
        .into()
    }
}

impl<M: Model> engine::Model for Entry<M> {
    fn values(&self) -> RResult<RVec<RString>, BackendError> {
        catch(|| Ok(self.0.values().into())).into()
    }

    fn times(&self) -> RResult<RVec<u64>, BackendError> {
        catch(|| Ok(self.0.times().into())).into()
    }

    fn run(
        &self,
        request: RunRequest<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RunReport, BackendError> {
        catch(|| self.0.run(&request, &mut Sink::new(sink), &Progress::new(progress))).into()
    }
}

/// Exports the engine: `qp_pytorch_contract::export_engine!(MyEngine);`, once, in the library's `lib.rs`.
#[macro_export]
macro_rules! export_engine {
    ($engine:ty) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "the engine needs `panic = \"unwind\"`, Cargo's default: with `abort` its panics would end the host."
        );

        const _: () = {
            fn root_module() -> $crate::EngineRef {
                $crate::abi_stable::prefix_type::PrefixTypeTrait::leak_into_prefix($crate::root::EngineRoot {
                    create: $crate::boundary::create::<$engine>,
                })
            }

            extern "C" fn erased_root_module() -> $crate::abi_stable::library::RootModuleResult {
                $crate::abi_stable::library::__call_root_module_loader(root_module)
            }

            /// The only symbol that the plugin looks for.
            #[allow(unsafe_code)]
            // SAFETY: the name is abi_stable's own, so no other symbol of a library can have it.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static ROOT: $crate::abi_stable::library::LibHeader =
                // SAFETY: `erased_root_module` erases an `EngineRef`, the type named here.
                unsafe {
                    $crate::abi_stable::library::LibHeader::from_constructor::<$crate::EngineRef>(
                        erased_root_module,
                        $crate::abi_stable::library::CheckTypeLayout::Yes,
                    )
                };
        };
    };
}
