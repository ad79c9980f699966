"""The models of the zoo: (name, library, function that trains it)."""

import inspect

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost
import zoo_tables as tables
from sklearn import (
    calibration,
    cluster,
    compose,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    linear_model,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

SEED = {"random_state": 1}


def fitted(model, table, **options):
    rows, target, held_out = table
    return model.fit(rows, target), rows, held_out, options


def without_names(model, table, **options):
    """Trained on a matrix, as many do: the model knows no names of columns."""
    rows, target, held_out = table
    return model.fit(rows.to_numpy(), target), rows, held_out, options


def scaled(model):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


def models():
    for library, zoo in (
        ("scikit-learn", sklearn_classifiers()),
        ("scikit-learn", sklearn_regressors()),
        ("scikit-learn", sklearn_pipelines()),
        ("scikit-learn", sklearn_others()),
        ("LightGBM", lightgbm_models()),
        ("XGBoost", xgboost_models()),
        ("CatBoost", catboost_models()),
    ):
        for name, train in zoo.items():
            yield name, library, train


def sklearn_classifiers():
    iris, wine, cancer = tables.iris, tables.wine, tables.cancer
    return {
        "logistic-regression": lambda: fitted(linear_model.LogisticRegression(max_iter=2000), iris()),
        "logistic-regression-binary": lambda: fitted(
            linear_model.LogisticRegression(max_iter=5000), cancer(True)
        ),
        "logistic-regression-bool": lambda: boolean_labels(),
        "logistic-regression-cv": lambda: fitted(
            linear_model.LogisticRegressionCV(max_iter=2000, Cs=3, **ratios()), iris(False)
        ),
        "sgd-classifier": lambda: fitted(scaled(linear_model.SGDClassifier(loss="log_loss", **SEED)), wine()),
        "ridge-classifier": lambda: fitted(linear_model.RidgeClassifier(), wine()),
        "perceptron": lambda: fitted(scaled(linear_model.Perceptron(**SEED)), iris()),
        "linear-svc": lambda: fitted(svm.LinearSVC(**SEED), iris()),
        "linear-svc-binary": lambda: fitted(svm.LinearSVC(**SEED), cancer(True)),
        "linear-svc-scaled": lambda: fitted(scaled(svm.LinearSVC(**SEED)), iris()),
        "svc": lambda: fitted(scaled(svm.SVC()), iris()),
        "svc-binary": lambda: fitted(scaled(svm.SVC()), cancer()),
        "nu-svc": lambda: fitted(scaled(svm.NuSVC(nu=0.2)), wine()),
        "calibrated-svc": lambda: fitted(
            calibration.CalibratedClassifierCV(svm.LinearSVC(**SEED), cv=3), iris()
        ),
        "k-nearest": lambda: fitted(neighbors.KNeighborsClassifier(), iris()),
        "k-nearest-weighted": lambda: fitted(
            neighbors.KNeighborsClassifier(weights="distance"), cancer(True)
        ),
        "nearest-centroid": lambda: fitted(neighbors.NearestCentroid(), iris()),
        "gaussian-naive-bayes": lambda: fitted(naive_bayes.GaussianNB(), wine()),
        "bernoulli-naive-bayes": lambda: fitted(naive_bayes.BernoulliNB(binarize=3.0), iris()),
        "multinomial-naive-bayes": lambda: fitted(naive_bayes.MultinomialNB(), tables.digits()),
        "complement-naive-bayes": lambda: fitted(naive_bayes.ComplementNB(), iris()),
        "linear-discriminant": lambda: fitted(discriminant_analysis.LinearDiscriminantAnalysis(), wine()),
        "quadratic-discriminant": lambda: fitted(
            discriminant_analysis.QuadraticDiscriminantAnalysis(), iris()
        ),
        "decision-tree": lambda: fitted(tree.DecisionTreeClassifier(max_depth=5, **SEED), wine()),
        "extra-tree": lambda: fitted(tree.ExtraTreeClassifier(max_depth=5, **SEED), iris()),
        "random-forest": lambda: fitted(ensemble.RandomForestClassifier(20, **SEED), iris()),
        "random-forest-binary": lambda: without_names(ensemble.RandomForestClassifier(20, **SEED), cancer()),
        "random-forest-digits": lambda: fitted(
            ensemble.RandomForestClassifier(15, max_depth=8, **SEED), tables.digits()
        ),
        "extra-trees": lambda: fitted(ensemble.ExtraTreesClassifier(20, **SEED), wine()),
        "gradient-boosting": lambda: fitted(
            ensemble.GradientBoostingClassifier(n_estimators=20, **SEED), iris()
        ),
        "gradient-boosting-binary": lambda: fitted(
            ensemble.GradientBoostingClassifier(n_estimators=20, **SEED), cancer()
        ),
        "hist-gradient-boosting": lambda: fitted(
            ensemble.HistGradientBoostingClassifier(max_iter=20), iris()
        ),
        "hist-gradient-boosting-missing": lambda: fitted(
            ensemble.HistGradientBoostingClassifier(max_iter=20), tables.with_gaps(cancer(True))
        ),
        "ada-boost": lambda: fitted(ensemble.AdaBoostClassifier(n_estimators=10, **SEED), iris()),
        "bagging": lambda: fitted(ensemble.BaggingClassifier(n_estimators=8, **SEED), wine()),
        "voting-soft": lambda: fitted(voting("soft"), iris()),
        "voting-hard": lambda: fitted(voting("hard"), iris()),
        "stacking": lambda: fitted(ensemble.StackingClassifier(estimators(), cv=3), iris()),
        "one-vs-rest": lambda: fitted(
            multiclass.OneVsRestClassifier(linear_model.LogisticRegression(max_iter=2000)), iris()
        ),
        "one-vs-one": lambda: fitted(
            multiclass.OneVsOneClassifier(linear_model.LogisticRegression(max_iter=2000)), iris(False)
        ),
        "neural-network": lambda: fitted(
            scaled(neural_network.MLPClassifier((16,), max_iter=300, **SEED)), iris()
        ),
        "gaussian-process": lambda: fitted(
            gaussian_process.GaussianProcessClassifier(**SEED), cancer_small()
        ),
        "multi-output-classifier": lambda: two_labels(),
    }


def ratios():
    """scikit-learn 1.8 and later warn without them."""
    known = inspect.signature(linear_model.LogisticRegressionCV).parameters
    return {"l1_ratios": (0,), "use_legacy_attributes": False} if "use_legacy_attributes" in known else {}


def boolean_labels():
    rows, target, held_out = tables.cancer()
    return fitted(linear_model.LogisticRegression(max_iter=5000), (rows, target == 1, held_out))


def two_labels():
    rows, target, held_out = tables.iris(False)
    both = np.column_stack([target, target == 2])
    return fitted(
        multioutput.MultiOutputClassifier(tree.DecisionTreeClassifier(max_depth=3)), (rows, both, held_out)
    )


def cancer_small():
    rows, target, held_out = tables.cancer()
    return rows.iloc[:80], target[:80], held_out


def estimators():
    return [
        ("linear", linear_model.LogisticRegression(max_iter=2000)),
        ("tree", tree.DecisionTreeClassifier(max_depth=4, **SEED)),
        ("bayes", naive_bayes.GaussianNB()),
    ]


def voting(how: str):
    return ensemble.VotingClassifier(estimators(), voting=how, flatten_transform=False)


def sklearn_regressors():
    diabetes = tables.diabetes
    plain = {
        "linear-regression": linear_model.LinearRegression(),
        "ridge": linear_model.Ridge(),
        "lasso": linear_model.Lasso(alpha=0.1),
        "elastic-net": linear_model.ElasticNet(alpha=0.01),
        "lars": linear_model.Lars(),
        "bayesian-ridge": linear_model.BayesianRidge(),
        "ard": linear_model.ARDRegression(),
        "huber": linear_model.HuberRegressor(max_iter=1000),
        "theil-sen": linear_model.TheilSenRegressor(**SEED),
        "ransac": linear_model.RANSACRegressor(**SEED),
        "quantile": linear_model.QuantileRegressor(alpha=0),
        "sgd-regressor": scaled(linear_model.SGDRegressor(**SEED)),
        "svr": scaled(svm.SVR(C=100)),
        "nu-svr": scaled(svm.NuSVR(C=100)),
        "linear-svr": scaled(svm.LinearSVR(max_iter=5000, **SEED)),
        "k-nearest-regressor": neighbors.KNeighborsRegressor(),
        "radius-nearest": neighbors.RadiusNeighborsRegressor(radius=0.2),
        "decision-tree-regressor": tree.DecisionTreeRegressor(max_depth=6, **SEED),
        "random-forest-regressor": ensemble.RandomForestRegressor(20, max_depth=8, **SEED),
        "extra-trees-regressor": ensemble.ExtraTreesRegressor(20, max_depth=8, **SEED),
        "gradient-boosting-regressor": ensemble.GradientBoostingRegressor(n_estimators=40, **SEED),
        "hist-gradient-boosting-regressor": ensemble.HistGradientBoostingRegressor(max_iter=40),
        "ada-boost-regressor": ensemble.AdaBoostRegressor(n_estimators=10, **SEED),
        "bagging-regressor": ensemble.BaggingRegressor(n_estimators=8, **SEED),
        "voting-regressor": ensemble.VotingRegressor(
            [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4, **SEED))]
        ),
        "stacking-regressor": ensemble.StackingRegressor(
            [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4, **SEED))], cv=3
        ),
        "neural-network-regressor": scaled(
            neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=2000, **SEED)
        ),
        "gaussian-process-regressor": gaussian_process.GaussianProcessRegressor(
            gaussian_process.kernels.RBF(0.3) + gaussian_process.kernels.WhiteKernel(1.0), normalize_y=True
        ),
        "pls": cross_decomposition.PLSRegression(3),
        "target-transformed": compose.TransformedTargetRegressor(
            linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1
        ),
    }
    zoo = {name: (lambda model=model: fitted(model, diabetes())) for name, model in plain.items()}
    return zoo | {
        "poisson": lambda: fitted(linear_model.PoissonRegressor(), tables.counts()),
        "gamma": lambda: fitted(linear_model.GammaRegressor(), tables.counts()),
        "tweedie": lambda: fitted(linear_model.TweedieRegressor(power=1.5), tables.counts()),
        "linear-three-targets": lambda: fitted(linear_model.LinearRegression(), tables.exercises()),
        "forest-three-targets": lambda: fitted(
            ensemble.RandomForestRegressor(10, **SEED), tables.exercises()
        ),
        "multi-output-regressor": lambda: fitted(
            multioutput.MultiOutputRegressor(ensemble.GradientBoostingRegressor(n_estimators=10, **SEED)),
            tables.exercises(),
        ),
        "hist-gradient-boosting-regressor-missing": lambda: fitted(
            ensemble.HistGradientBoostingRegressor(max_iter=40), tables.with_gaps(diabetes())
        ),
        "isotonic": lambda: isotonic_regression(),
    }


def isotonic_regression():
    rows, target, held_out = tables.diabetes()
    return fitted(
        isotonic.IsotonicRegression(out_of_bounds="clip"), (rows[["bmi"]], target, held_out[["bmi"]])
    )


def sklearn_pipelines():
    make = pipeline.make_pipeline
    logistic = linear_model.LogisticRegression
    return {
        "titanic-logistic": lambda: fitted(
            titanic(logistic(max_iter=2000)), tables.passengers(), key="passenger_id"
        ),
        "titanic-forest": lambda: fitted(
            titanic(ensemble.RandomForestClassifier(15, max_depth=6, **SEED)),
            tables.passengers(),
            key="passenger_id",
        ),
        "titanic-complete": lambda: fitted(
            titanic(logistic(max_iter=2000)), tables.passengers(gaps=False), key="passenger_id"
        ),
        "titanic-ordinal-forest": lambda: fitted(
            ordinal(), tables.passengers(gaps=False), key="passenger_id"
        ),
        "titanic-lightgbm": lambda: fitted(
            titanic(lightgbm.LGBMClassifier(n_estimators=15, verbose=-1, **SEED)),
            tables.passengers(),
            key="passenger_id",
        ),
        "titanic-xgboost": lambda: numbered(
            titanic(xgboost.XGBClassifier(n_estimators=15), sparse_threshold=0)
        ),
        "imputed-logistic": lambda: fitted(
            make(impute.SimpleImputer(), preprocessing.StandardScaler(), logistic()),
            tables.with_gaps(tables.wine()),
        ),
        "imputed-with-indicator": lambda: fitted(
            make(impute.SimpleImputer(add_indicator=True), logistic(max_iter=5000)),
            tables.with_gaps(tables.iris()),
        ),
        "imputed-by-neighbours": lambda: fitted(
            make(impute.KNNImputer(), linear_model.Ridge()), tables.with_gaps(tables.diabetes())
        ),
        "min-max-svc": lambda: fitted(make(preprocessing.MinMaxScaler(), svm.SVC()), tables.iris()),
        "robust-ridge": lambda: fitted(
            make(preprocessing.RobustScaler(), linear_model.Ridge()), tables.diabetes()
        ),
        "polynomial-ridge": lambda: fitted(
            make(preprocessing.PolynomialFeatures(2), linear_model.Ridge()), tables.diabetes()
        ),
        "binned-logistic": lambda: fitted(
            make(
                preprocessing.KBinsDiscretizer(
                    4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"
                ),
                logistic(max_iter=2000),
            ),
            tables.iris(),
        ),
        "power-transformed": lambda: fitted(
            make(preprocessing.PowerTransformer(), logistic()), tables.wine()
        ),
        "quantile-transformed": lambda: fitted(
            make(preprocessing.QuantileTransformer(n_quantiles=50), logistic()), tables.wine()
        ),
        "normalized-k-nearest": lambda: fitted(
            make(preprocessing.Normalizer(), neighbors.KNeighborsClassifier()), tables.iris()
        ),
        "pca-logistic": lambda: fitted(
            make(preprocessing.StandardScaler(), decomposition.PCA(2), logistic()), tables.wine()
        ),
        "selected-forest": lambda: fitted(
            make(feature_selection.SelectKBest(k=4), ensemble.RandomForestClassifier(10, **SEED)),
            tables.wine(),
        ),
        "union-logistic": lambda: fitted(
            make(
                pipeline.make_union(decomposition.PCA(2), preprocessing.StandardScaler()),
                logistic(max_iter=2000),
            ),
            tables.wine(),
        ),
        "nystroem-svc": lambda: fitted(
            make(
                preprocessing.StandardScaler(),
                kernel_approximation.Nystroem(n_components=20, **SEED),
                svm.LinearSVC(**SEED),
            ),
            tables.iris(),
        ),
    }


def titanic(classifier, **options):
    text = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="constant", fill_value="unknown"),
        preprocessing.OneHotEncoder(handle_unknown="ignore"),
    )
    numbers = impute.SimpleImputer(
        strategy="median"
    )  # trees need no scaler, and are exact in 32 bits without one
    if isinstance(classifier, linear_model.LogisticRegression):
        numbers = pipeline.make_pipeline(numbers, preprocessing.StandardScaler())
    columns = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["age", "fare"]),
            ("texts", text, ["sex", "port"]),
            ("class", preprocessing.OneHotEncoder(), ["ticket_class"]),
        ],
        **options,
    )
    return pipeline.make_pipeline(columns, classifier)


def ordinal():
    columns = compose.ColumnTransformer(
        [("texts", preprocessing.OrdinalEncoder(), ["sex", "port"])], remainder="passthrough"
    )
    return pipeline.make_pipeline(columns, ensemble.ExtraTreesClassifier(10, max_depth=5, **SEED))


def numbered(model):
    """XGBoost takes no texts as labels."""
    rows, target, held_out = tables.passengers()
    return fitted(model, (rows, (target == "survived").astype(int), held_out), key="passenger_id")


def sklearn_others():
    return {
        "isolation-forest": lambda: fitted(ensemble.IsolationForest(n_estimators=20, **SEED), tables.iris()),
        "one-class-svm": lambda: fitted(svm.OneClassSVM(), tables.iris()),
        "local-outlier-factor": lambda: fitted(neighbors.LocalOutlierFactor(novelty=True), tables.iris()),
        "k-means": lambda: fitted(cluster.KMeans(3, n_init=3, **SEED), tables.iris()),
        "pca": lambda: fitted(decomposition.PCA(2), tables.wine()),
    }


def lightgbm_models():
    small = {"n_estimators": 20, "verbose": -1, **SEED}
    params = {"verbose": -1, "seed": 1, "deterministic": True}
    return {
        "lightgbm-classifier": lambda: fitted(lightgbm.LGBMClassifier(**small), tables.cancer(True)),
        "lightgbm-multiclass": lambda: fitted(lightgbm.LGBMClassifier(**small), tables.iris()),
        "lightgbm-classifier-missing": lambda: fitted(
            lightgbm.LGBMClassifier(**small), tables.with_gaps(tables.cancer())
        ),
        "lightgbm-regressor": lambda: fitted(lightgbm.LGBMRegressor(**small), tables.diabetes()),
        "lightgbm-regressor-missing": lambda: fitted(
            lightgbm.LGBMRegressor(**small), tables.with_gaps(tables.diabetes())
        ),
        "lightgbm-random-forest": lambda: fitted(
            lightgbm.LGBMClassifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **small),
            tables.wine(),
        ),
        "lightgbm-booster-binary": lambda: booster({"objective": "binary", **params}, tables.cancer()),
        "lightgbm-booster-multiclass": lambda: booster(
            {"objective": "multiclass", "num_class": 3, **params}, tables.iris(False)
        ),
        "lightgbm-booster-regression": lambda: booster(
            {"objective": "regression", **params}, tables.diabetes()
        ),
        "lightgbm-booster-poisson": lambda: booster({"objective": "poisson", **params}, tables.counts()),
        "lightgbm-booster-missing": lambda: booster(
            {"objective": "regression", **params}, tables.with_gaps(tables.diabetes())
        ),
        "lightgbm-categories": lambda: lightgbm_categories(params),
    }


def booster(params, table):
    rows, target, held_out = table
    return lightgbm.train(params, lightgbm.Dataset(rows, target), 20), rows, held_out, {}


def lightgbm_categories(params):
    rows, target, held_out = tables.passengers(gaps=False)
    features = rows.drop(columns="passenger_id")
    typed = features.astype({"sex": "category", "port": "category"})
    model = lightgbm.train(
        {"objective": "binary", **params}, lightgbm.Dataset(typed, (target == "survived").astype(int)), 15
    )
    return model, rows, held_out, {"key": "passenger_id"}


def xgboost_models():
    small = {"n_estimators": 20, "max_depth": 4, "n_jobs": 1, **SEED}
    return {
        "xgboost-classifier": lambda: fitted(xgboost.XGBClassifier(**small), tables.cancer()),
        "xgboost-multiclass": lambda: fitted(xgboost.XGBClassifier(**small), tables.iris(False)),
        "xgboost-classifier-missing": lambda: fitted(
            xgboost.XGBClassifier(**small), tables.with_gaps(tables.cancer())
        ),
        "xgboost-regressor": lambda: fitted(xgboost.XGBRegressor(**small), tables.diabetes()),
        "xgboost-regressor-missing": lambda: fitted(
            xgboost.XGBRegressor(**small), tables.with_gaps(tables.diabetes())
        ),
        "xgboost-poisson": lambda: fitted(
            xgboost.XGBRegressor(objective="count:poisson", **small), tables.counts()
        ),
        "xgboost-random-forest": lambda: fitted(xgboost.XGBRFClassifier(**small), tables.cancer()),
        "xgboost-linear": lambda: fitted(
            xgboost.XGBRegressor(booster="gblinear", n_estimators=20), tables.diabetes()
        ),
        "xgboost-dart": lambda: fitted(xgboost.XGBRegressor(booster="dart", **small), tables.diabetes()),
        "xgboost-booster-binary": lambda: xgboost_booster({"objective": "binary:logistic"}, tables.cancer()),
        "xgboost-booster-multiclass": lambda: xgboost_booster(
            {"objective": "multi:softprob", "num_class": 3}, tables.iris(False)
        ),
        "xgboost-booster-regression": lambda: xgboost_booster(
            {"objective": "reg:squarederror"}, tables.diabetes()
        ),
        "xgboost-booster-missing": lambda: xgboost_booster(
            {"objective": "reg:squarederror"}, tables.with_gaps(tables.diabetes())
        ),
    }


def xgboost_booster(params, table):
    rows, target, held_out = table
    matrix = xgboost.DMatrix(rows, target)
    return xgboost.train({"nthread": 1, "seed": 1, **params}, matrix, 20), rows, held_out, {}


def catboost_models():
    small = {"iterations": 20, "depth": 4, "verbose": False, "allow_writing_files": False, "random_seed": 1}
    return {
        "catboost-classifier": lambda: fitted(catboost.CatBoostClassifier(**small), tables.cancer(True)),
        "catboost-classifier-numbers": lambda: fitted(catboost.CatBoostClassifier(**small), tables.cancer()),
        "catboost-multiclass": lambda: fitted(catboost.CatBoostClassifier(**small), tables.iris()),
        "catboost-multiclass-numbers": lambda: fitted(catboost.CatBoostClassifier(**small), tables.wine()),
        "catboost-classifier-missing": lambda: fitted(
            catboost.CatBoostClassifier(**small), tables.with_gaps(tables.cancer())
        ),
        "catboost-regressor": lambda: fitted(catboost.CatBoostRegressor(**small), tables.diabetes()),
        "catboost-regressor-missing": lambda: fitted(
            catboost.CatBoostRegressor(**small), tables.with_gaps(tables.diabetes())
        ),
        "catboost-native": lambda: catboost_native(small),
        "catboost-categories": lambda: fitted(
            catboost.CatBoostClassifier(cat_features=["sex", "port"], **small),
            passengers_without_id(),
            key=None,
        ),
    }


def passengers_without_id():
    rows, target, held_out = tables.passengers(gaps=False)
    return rows.drop(columns="passenger_id"), target, held_out.drop(columns="passenger_id")


def catboost_native(small):
    rows, target, held_out = tables.diabetes()
    model = catboost.CatBoost({"loss_function": "RMSE", **small})
    return model.fit(pd.DataFrame(rows), target), rows, held_out, {}
