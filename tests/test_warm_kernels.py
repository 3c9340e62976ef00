"""The plugin that gives nbval warm kernels."""

from jupyter_client.provisioning import KernelProvisionerFactory

from tests import warm_kernels


def test_kernels_are_warm_again_after_the_factory_was_made_anew():
    warm_kernels.pytest_runtest_setup()
    KernelProvisionerFactory.clear_instance()
    warm_kernels.pytest_runtest_setup()
    factory = KernelProvisionerFactory.instance()
    assert factory.default_provisioner_name == warm_kernels.NAME
    assert type(factory.provisioners[warm_kernels.NAME].load()(parent=None)).__name__ == "WarmProvisioner"
