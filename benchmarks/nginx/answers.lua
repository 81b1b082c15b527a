-- Responses that nginx itself does not have: S3's XML, and the headers that S3's clients expect after a PUT.

local answers = {}

local xmlns = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
local head = '<?xml version="1.0" encoding="UTF-8"?>\n'
local pages_dir = '@DIR@/pages/'
local pages = {}

local function send(body)
    ngx.header['Content-Type'] = 'application/xml'
    ngx.header['Content-Length'] = #body
    ngx.print(body)
end

local function bucket_and_key()
    return ngx.unescape_uri(ngx.var.request_uri):match('^/([^/?]*)/?([^?]*)')
end

-- WebDAV responds with 201 or 204; S3 with 200 and an ETag (here not the MD5, as for a multipart or encrypted object).
function answers.stored()
    if ngx.status == 201 or ngx.status == 204 then
        ngx.status = 200
        ngx.header['Content-Length'] = 0
        ngx.header['Location'] = nil
        ngx.header['ETag'] = '"5330000000000000000000000000f00d-1"'
    end
end

function answers.discarded()
    ngx.req.discard_body()
    ngx.header['ETag'] = '"5330000000000000000000000000f00d-1"'
    ngx.header['Content-Length'] = 0
    ngx.exit(200)
end

-- DeleteObjects lists the deleted keys, unless the request has Quiet.
local function deleted(body)
    if body:find('<Quiet>true</Quiet>', 1, true) then
        return head .. '<DeleteResult ' .. xmlns .. '></DeleteResult>'
    end
    local gone = {}
    for key in body:gmatch('<Key>(.-)</Key>') do
        gone[#gone + 1] = '<Deleted><Key>' .. key .. '</Key></Deleted>'
    end
    return head .. '<DeleteResult ' .. xmlns .. '>' .. table.concat(gone) .. '</DeleteResult>'
end

function answers.post()
    ngx.req.read_body()
    local bucket, key = bucket_and_key()
    local named = '<Bucket>' .. bucket .. '</Bucket><Key>' .. key .. '</Key>'
    local args = ngx.req.get_uri_args()
    if args.uploads then
        send(head .. '<InitiateMultipartUploadResult ' .. xmlns .. '>' .. named ..
            '<UploadId>upload-' .. ngx.var.request_id .. '</UploadId></InitiateMultipartUploadResult>')
    elseif args.uploadId then
        send(head .. '<CompleteMultipartUploadResult ' .. xmlns .. '>' .. named ..
            '<Location>/' .. bucket .. '/' .. key .. '</Location><ETag>"5330000000000000000000000000f00d-2"</ETag>' ..
            '</CompleteMultipartUploadResult>')
    elseif args.delete then
        send(deleted(ngx.req.get_body_data() or ''))
    else
        ngx.exit(501)
    end
end

function answers.delete()
    ngx.req.discard_body()
    if not ngx.var.arg_uploadId then
        os.remove(ngx.var.document_root .. ngx.var.uri:sub(#'/-/delete' + 1))
    end
    ngx.exit(204)
end

-- ListObjectsV2 returns one of the pages that were written at the start; it ignores prefixes.
local function page(bucket, token)
    local name = bucket .. '/' .. (token:match('^%d+$') or '0') .. '.xml'
    if not pages[name] then
        local file = io.open(pages_dir .. name, 'rb')
        if not file then
            return head .. '<ListBucketResult ' .. xmlns .. '><Name>' .. bucket ..
                '</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>'
        end
        pages[name] = file:read('*a')
        file:close()
    end
    return pages[name]
end

function answers.bucket()
    ngx.req.discard_body()
    ngx.header['x-amz-bucket-region'] = 'us-east-1'
    local args = ngx.req.get_uri_args()
    local method = ngx.req.get_method()
    if method == 'DELETE' then
        ngx.exit(204)
    elseif method ~= 'GET' then
        ngx.header['Content-Length'] = 0
        ngx.exit(200)
    elseif args.location then
        send(head .. '<LocationConstraint ' .. xmlns .. '>us-east-1</LocationConstraint>')
    else
        send(page(bucket_and_key(), tostring(args['continuation-token'] or '0')))
    end
end

return answers
