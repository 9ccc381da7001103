aws logs delete-metric-filter --log-group-name ${log_group} --filter-name ${cloudwatch/metric-filters[*].filterName}
# Metrics can't be deleted. They leave lists after two weeks without values.
