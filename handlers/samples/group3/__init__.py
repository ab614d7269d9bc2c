"""Ways to structure a handler: a service layer, one transaction boundary, concurrent queries.

sample7 service_layer | sample8 do_work_pattern | sample9 concurrent_queries
"""
