aws cloudwatch delete-dashboards --dashboard-names ${prefix}
