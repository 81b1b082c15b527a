"""ipykernel: a kernel, to which jupyter_client sends cells. `notebook kernel …` is the kernel itself."""

from tests.neighbours.programs.shared import import_s3po

import_s3po('first')

import sys

CELLS = (
    'import asyncio, threading; print("before")',
    'from tests.neighbours.programs.shared import import_s3po, transfer',
    'import_s3po("second")',
    'print("printed")',
    'transfer("cell", is_large=True)',
    'await asyncio.to_thread(transfer, "thread"); await asyncio.sleep(0.01)',
    'await asyncio.get_running_loop().run_in_executor(None, transfer, "executor")',
    'thread = threading.Thread(target=transfer, args=["beside"]); thread.start(); transfer("cell again"); thread.join()',
    'import subprocess, sys; subprocess.run([sys.executable, "-c", ""], check=True)',
)


def use_kernel():
    """Run the kernel."""
    from ipykernel.kernelapp import launch_new_instance

    del sys.argv[1]
    launch_new_instance()


def main():
    """Run the client."""
    import jupyter_client
    from jupyter_client.kernelspec import KernelSpec

    manager = jupyter_client.KernelManager()
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, '-m', 'tests.neighbours.programs.notebook', 'kernel', '-f', '{connection_file}'],
        language='python',
    )
    manager.start_kernel()
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=20)
        for cell in CELLS:
            ask(client, cell)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    # After the values of cells, which were printed without a line end.
    print('\ndone', flush=True)


def ask(client, cell):
    answer = client.execute_interactive(cell, timeout=20)
    assert answer['content']['status'] == 'ok', (cell, answer['content'])


if __name__ == '__main__':
    use_kernel() if sys.argv[1:2] == ['kernel'] else main()
