"""multiprocessing: `processes KIND METHOD`."""

from tests.neighbours.programs.shared import import_s3po, transfer

import_s3po('first')

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import_s3po('second')


def square(number):
    return number * number


def echo(connection, name):
    """Return one message before s3po is used, and one after a transfer."""
    connection.send(connection.recv())
    transfer(name)
    connection.send(connection.recv())
    connection.close()


def serve(requests, answers):
    """Make the requested transfers until None arrives."""
    for name in iter(requests.get, None):
        answers.put(transfer(name))


def use_pool(context, name):
    with context.Pool(2) as pool:
        assert pool.map(square, range(20)) == [number * number for number in range(20)]
        assert pool.map(transfer, [f'{name}/0', f'{name}/1']) == [f'{name}/0', f'{name}/1']
        pool.close()
        pool.join()


def use_executor(context, name):
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(square, range(20))) == [number * number for number in range(20)]
        assert executor.submit(transfer, name).result() == name


def use_queue(context, name):
    requests, answers = context.Queue(), context.JoinableQueue()
    worker = context.Process(target=serve, args=(requests, answers))
    worker.start()
    for number in range(3):
        requests.put(f'{name}/{number}')
        assert answers.get(timeout=20) == f'{name}/{number}'
        answers.task_done()
    answers.join()
    requests.put(None)
    worker.join()
    assert worker.exitcode == 0


def use_pipe(context, name):
    here, there = context.Pipe()
    worker = context.Process(target=echo, args=(there, name))
    worker.start()
    there.close()
    # Larger than the buffer of a pipe.
    for message in (name, bytes(1_000_000)):
        here.send(message)
        assert here.poll(20)
        assert here.recv() == message
    worker.join()
    assert worker.exitcode == 0


def use_manager(context, name):
    with context.Manager() as manager:
        shared, lock = manager.dict(), manager.Lock()
        with lock:
            shared['name'] = name
        with context.Pool(2) as pool:
            pool.starmap(note, [(shared, lock, f'{name}/{number}') for number in range(2)])
            pool.close()
            pool.join()
        assert dict(shared) == {'name': name, f'{name}/0': True, f'{name}/1': True}


def note(shared, lock, name):
    transfer(name)
    with lock:
        shared[name] = True


def main(kind, method):
    use = globals()[f'use_{kind}']
    context = multiprocessing.get_context(method)
    use(context, 'before')
    transfer('parent', is_large=True)
    use(context, 'after')
    print('done', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
