//! Turns the author's traits into the objects that cross the boundary, each entry under the panic guard.

use super::{Backend, IDLE, KERNELS, Model, Progress, QUANTIZABLE, READ_REAL, RUNTIME_FOLDER, Sink, payload};
use crate::backend::{
    self, Backend_TO, BackendBox, Edit, Model_TO, ModelBox, RunReport, RunRequest, RuntimeStatus,
};
use crate::error::BackendError;
use crate::guard::{catch, quietly};
use crate::manifest::{Manifest, Pair, Setup};
use crate::model::ModelInfo;
use crate::sink::{ProgressRef, TensorSinkMut};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString};
use std::mem::ManuallyDrop;

/// The `manifest` entry of a plugin whose backend is `B`.
pub extern "C" fn manifest<B: Backend>() -> RResult<Manifest, BackendError> {
    catch(|| Ok(B::manifest())).into()
}

/// The `create` entry of a plugin whose backend is `B`.
pub extern "C" fn create<B: Backend>(setup: Setup) -> RResult<BackendBox, BackendError> {
    catch(|| Ok(backend_object(B::create(setup)?))).into()
}

/// The object for a backend.
pub fn backend_object<B: Backend>(backend: B) -> BackendBox {
    Backend_TO::from_value(Guarded::new(backend), TD_Opaque)
}

/// The object for an open model.
pub fn model_object<M: Model>(model: M) -> ModelBox {
    Model_TO::from_value(Guarded::new(model), TD_Opaque)
}

/// An implementation whose destructor is guarded like every other entry.
pub struct Guarded<T>(ManuallyDrop<T>);

impl<T> Guarded<T> {
    /// Guards the destructor of `implementation`.
    pub fn new(implementation: T) -> Self {
        Self(ManuallyDrop::new(implementation))
    }
}

impl<T> std::ops::Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: `self.0` is dropped here and nowhere else, and not used after.
        quietly(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

impl<B: Backend> backend::Backend for Guarded<B> {
    fn probe(&self, head: RSlice<'_, u8>, file_name: RStr<'_>) -> RResult<ROption<RString>, BackendError> {
        catch(|| Ok(self.0.probe(head.as_slice(), file_name.as_str()).map(RString::from).into())).into()
    }

    fn inspect(
        &self,
        location: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelInfo, BackendError> {
        catch(|| self.0.inspect(location.as_str(), options.as_slice(), &Progress::new(progress))).into()
    }

    fn runtime(&self) -> RResult<RuntimeStatus, BackendError> {
        catch(|| Ok(self.0.runtime())).into()
    }

    fn open(
        &self,
        location: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError> {
        catch(|| {
            self.0.open(location.as_str(), options.as_slice(), &Progress::new(progress)).map(model_object)
        })
        .into()
    }

    fn request(
        &self,
        name: RStr<'_>,
        payload: RStr<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RString, BackendError> {
        catch(|| {
            if name == RUNTIME_FOLDER {
                let folder = payload::text(payload.as_str(), "folder").ok_or_else(|| {
                    BackendError::invalid_input(format!("the payload of `{name}` names no `folder`"))
                })?;
                return self.0.add_runtime_folder(&folder).map(|()| RString::from("{}"));
            }
            if name == IDLE {
                return self.0.idle().map(|()| RString::from("{}"));
            }
            self.0.request(name.as_str(), payload.as_str(), &Progress::new(progress)).map(RString::from)
        })
        .into()
    }
}

impl<M: Model> backend::Model for Guarded<M> {
    fn info(&self) -> RResult<ModelInfo, BackendError> {
        catch(|| self.0.info()).into()
    }

    fn read_tensor(
        &self,
        name: RStr<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<(), BackendError> {
        catch(|| self.0.read_tensor(name.as_str(), &mut Sink::new(sink), &Progress::new(progress))).into()
    }

    fn run(
        &self,
        request: RunRequest<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RunReport, BackendError> {
        catch(|| self.0.run(&request, &mut Sink::new(sink), &Progress::new(progress))).into()
    }

    fn edit(&self, edits: RSlice<'_, Edit>, progress: ProgressRef<'_>) -> RResult<ModelBox, BackendError> {
        catch(|| self.0.edit(edits.as_slice(), &Progress::new(progress))).into()
    }

    fn export(
        &self,
        path: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<(), BackendError> {
        catch(|| self.0.export(path.as_str(), options.as_slice(), &Progress::new(progress))).into()
    }

    fn request(
        &self,
        name: RStr<'_>,
        payload: RStr<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RString, BackendError> {
        catch(|| {
            let (mut sink, progress) = (Sink::new(sink), Progress::new(progress));
            if name == READ_REAL {
                let tensor = payload::text(payload.as_str(), "tensor").ok_or_else(|| {
                    BackendError::invalid_input(format!("the payload of `{name}` does not name a `tensor`"))
                })?;
                return self.0.read_real(&tensor, &mut sink, &progress).map(|()| RString::from("{}"));
            }
            if name == KERNELS {
                let of = payload::read(KERNELS, payload.as_str())?;
                return payload::written(KERNELS, &self.0.kernels(&of, &progress)?).map(RString::from);
            }
            if name == QUANTIZABLE {
                let of = payload::read(QUANTIZABLE, payload.as_str())?;
                return payload::written(QUANTIZABLE, &self.0.quantizable(&of, &progress)?)
                    .map(RString::from);
            }
            self.0.request(name.as_str(), payload.as_str(), &mut sink, &progress).map(RString::from)
        })
        .into()
    }
}

/// Exports a plugin: `qp_abi::export_plugin!(MyBackend);`, once, in the library's `lib.rs`. With `panic = "abort"` it
/// does not compile: the guards could not catch anything.
#[macro_export]
macro_rules! export_plugin {
    ($backend:ty) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a qp plugin needs `panic = \"unwind\"`, Cargo's default: with `abort` its panics would end the host. Take \
             `panic = \"abort\"` out of the profile in the workspace's Cargo.toml, or `-Cpanic=abort` out of RUSTFLAGS."
        );

        const _: () = {
            fn root_module() -> $crate::PluginRef {
                $crate::abi_stable::prefix_type::PrefixTypeTrait::leak_into_prefix($crate::root::Plugin {
                    manifest: $crate::sdk::boundary::manifest::<$backend>,
                    create: $crate::sdk::boundary::create::<$backend>,
                })
            }

            extern "C" fn erased_root_module() -> $crate::abi_stable::library::RootModuleResult {
                $crate::abi_stable::library::__call_root_module_loader(root_module)
            }

            /// The only symbol that the host looks for.
            #[allow(unsafe_code)]
            // SAFETY: the name is abi_stable's own, so no other symbol of a library can have it.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static ROOT: $crate::abi_stable::library::LibHeader =
                // SAFETY: `erased_root_module` erases a `PluginRef`, the type named here.
                unsafe {
                    $crate::abi_stable::library::LibHeader::from_constructor::<$crate::PluginRef>(
                        erased_root_module,
                        $crate::abi_stable::library::CheckTypeLayout::Yes,
                    )
                };
        };
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_export_macro_uses_the_name_that_the_loader_looks_for() {
        let source = include_str!("boundary.rs");
        let name = abi_stable::library::ROOT_MODULE_LOADER_NAME;
        assert!(source.contains(&format!("export_name = \"{name}\"")), "{name}");
    }
}
