#include "macros.h"

apr_bucket *neat_brigade_first(apr_bucket_brigade *brigade)
{
    return APR_BRIGADE_EMPTY(brigade) ? NULL : APR_BRIGADE_FIRST(brigade);
}

void neat_brigade_insert_tail(apr_bucket_brigade *brigade, apr_bucket *bucket)
{
    APR_BRIGADE_INSERT_TAIL(brigade, bucket);
}

void neat_bucket_delete(apr_bucket *bucket)
{
    apr_bucket_delete(bucket);
}

void neat_standard_module(module *record)
{
    static const module standard = { STANDARD20_MODULE_STUFF };

    *record = standard;
}
