"""s3fs, an asynchronous fsspec file system, together with s3po and its own file system."""

from tests.neighbours.programs.shared import BUCKET, import_s3po, storage_options, transfer

import_s3po('first')

import fsspec
import s3fs

import_s3po('second')


def main():
    options = storage_options()
    other = s3fs.S3FileSystem(
        key=options['access_key_id'],
        secret=options['secret_access_key'],
        endpoint_url=options['endpoint_url'],
        client_kwargs={'region_name': options['region']},
        config_kwargs={'s3': {'addressing_style': 'path'}},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    keys = {f'{BUCKET}/other/{number}': b'%d' % number for number in range(10)}
    other.pipe(keys)
    transfer('own', is_large=True)
    assert other.cat(list(keys)) == keys

    own = fsspec.filesystem('s3po', **options)
    assert own.cat(list(keys)) == keys
    own.pipe(f'{BUCKET}/both', b'body')
    assert other.cat(f'{BUCKET}/both') == b'body'
    with other.open(f'{BUCKET}/both', 'wb') as file:
        file.write(b'again')
    assert own.cat(f'{BUCKET}/both') == b'again'
    assert sorted(other.ls(f'{BUCKET}/other')) == sorted(own.ls(f'{BUCKET}/other', detail=False)) == sorted(keys)


if __name__ == '__main__':
    main()
    print('done', flush=True)
