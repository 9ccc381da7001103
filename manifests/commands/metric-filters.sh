aws logs put-metric-filter --log-group-name ${log_group} --filter-name ${cloudwatch/metric-filters[*].filterName} \
    --filter-pattern ${cloudwatch/metric-filters[*].filterPattern} \
    --metric-transformations ${cloudwatch/metric-filters[*].metricTransformations}
